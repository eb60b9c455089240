//! The API: the operations that a backend asks for, and the ways to ask.
