//! filled when the catalogue can be parsed
