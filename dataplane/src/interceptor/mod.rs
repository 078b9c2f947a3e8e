//! The packet interceptor: matches each IP packet against the look-up table, takes what matches,
//! lets the rest through untouched.
