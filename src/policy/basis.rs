//! Legal bases for keeping, by code.
