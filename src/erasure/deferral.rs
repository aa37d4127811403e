//! Comes back for what the law kept, on its date.
