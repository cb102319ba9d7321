"""Networks of well-known families and packages, made ready to be exported as modules."""
