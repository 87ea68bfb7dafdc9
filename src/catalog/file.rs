//! provisional
use super::Catalog;

/// x
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// x
    pub path: String,
    /// x
    pub message: String,
}

impl Catalog {
    /// x
    pub fn embedded() -> Result<Self, Vec<Problem>> {
        Ok(Self::default())
    }
    /// x
    pub fn parse(_: &[u8]) -> Result<Self, Vec<Problem>> {
        Ok(Self::default())
    }
}
