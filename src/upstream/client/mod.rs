//! HTTP/1.1 towards a provider: connections that are kept, requests on them, answers as they come.
//!
//! Why not the whole of awc: for each request it makes a codec with a clock of its own (a task, a timer, a wake-up of the
//! runtime), buffers, and a copy of the body. awc opens the connections (names, TCP, TLS, their deadlines), the codec is
//! actix's; what is between them is here, and is made once per connection.
//!
//! Invariants: a connection carries one request at a time, and is kept only after an answer that was read to its end and
//! does not close it. A request or an answer that is dropped closes its connection. An answer that ends before it is whole
//! is an error, unless nothing but the connection's end can end it.

mod connection;
mod head;
mod pool;
mod response;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use awc::error::ConnectError;
use futures_util::future::LocalBoxFuture;

use self::connection::Connection;
pub use self::connection::{Ready, Socket};
pub use self::head::Head;
use self::pool::Pool;
pub use self::response::{Answer, Response};

/// A socket on its way.
pub type Connecting = LocalBoxFuture<'static, Result<Box<dyn Socket>, ConnectError>>;

/// Connections to one place.
pub struct Client {
    connect: Box<dyn Fn() -> Connecting>,
    pool: Rc<Pool>,
}

impl Client {
    /// Whose sockets are made by this.
    pub fn new(connect: impl Fn() -> Connecting + 'static) -> Self {
        Self { connect: Box::new(connect), pool: Rc::default() }
    }

    /// A connection that was kept and is still open, if there is one.
    pub fn kept(&self) -> Option<Ready> {
        Some(Ready::new(self.pool.take()?, &self.pool))
    }

    /// A new connection.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn connect(&self) -> Result<Ready, ConnectError> {
        let socket = (self.connect)().await?;
        Ok(Ready::new(Connection::new(socket), &self.pool))
    }

    /// One that was kept, or a new one.
    ///
    /// # Errors
    /// It cannot be made.
    pub async fn ready(&self) -> Result<Ready, ConnectError> {
        match self.kept() {
            Some(kept) => Ok(kept),
            None => self.connect().await,
        }
    }
}
