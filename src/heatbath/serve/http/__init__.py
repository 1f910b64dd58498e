"""What every request passes on its way in, outermost first. Plain ASGI, so that a client's leaving is seen inside."""
