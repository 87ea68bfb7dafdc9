//! What stands in front of two servers and is switched over from one to the other.

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// Passes connections on to a port, and to another one once it is turned: all connections break then.
pub struct Switch {
    /// Its own port.
    pub port: u16,
    target: watch::Sender<u16>,
}

impl Switch {
    /// Begins with this port.
    pub async fn to(port: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let own = listener.local_addr().expect("bound").port();
        let (target, turned) = watch::channel(port);
        tokio::spawn(async move {
            while let Ok((mut near, _)) = listener.accept().await {
                let mut turned = turned.clone();
                tokio::spawn(async move {
                    let port = *turned.borrow_and_update();
                    let Ok(mut far) = TcpStream::connect(("127.0.0.1", port)).await else {
                        return;
                    };
                    tokio::select! {
                        _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                        _ = turned.changed() => {}
                    }
                });
            }
        });
        Self { port: own, target }
    }

    /// Turns to another port.
    pub fn turn(&self, port: u16) {
        self.target.send_replace(port);
    }
}
