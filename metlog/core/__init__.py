"""What a logging call goes through, from the client's state to the sender. Private: import from `metlog`."""
