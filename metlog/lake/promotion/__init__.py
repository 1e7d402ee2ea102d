"""Hot fields of events as columns of their own, beside `fields`: which ones, how they are written, what a file says of them."""
