"""What requests and answers hold. A request's struct knows the fields that count; all others are told apart."""
