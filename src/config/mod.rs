//! Configuration: layers, validation with paths, secret references. The only module that reads the environment.

mod settings;

pub use settings::{
    Alias, AliasTarget, AuthStyle, CatalogSettings, Log, Provider, Secret, Server, Settings, Timeouts,
};
