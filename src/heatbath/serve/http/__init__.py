"""HTTP below the routes: protocol, middleware, authentication, limits. Plain ASGI, so that handlers see disconnects."""
