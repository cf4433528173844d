//! A typed client of Roost over REST, GraphQL and Socket.IO.
//!
//! ```no_run
//! # async fn story() -> Result<(), roost_client::Error> {
//! use roost_client::{Endpoint, RoomReader, Socket};
//! use roost_schema::{CreateBoard, Register, Secret};
//!
//! let server = Endpoint::new("http://127.0.0.1:4000")?;
//! let alice = server
//!     .register(&Register {
//!         email: "alice@example.org".into(),
//!         password: Secret::new("correct horse"),
//!         name: "Alice".into(),
//!         op_id: None,
//!     })
//!     .await?;
//! let board = alice.create_board(&CreateBoard { title: "Plan".into(), op_id: None }).await?;
//! let mut reader = RoomReader::new(alice, board.id);
//! while let Some(events) = reader.next().await? {
//!     println!("{} events", events.len());
//! }
//! # Ok(())
//! # }
//! ```

mod backoff;
mod endpoint;
mod error;
mod graphql;
mod graphql_socket;
pub mod packet;
mod reader;
mod rest;
mod session;
mod socket;
mod state;
mod stream;

pub use backoff::Backoff;
pub use endpoint::Endpoint;
pub use error::{Error, Result};
pub use graphql::Subscription;
pub use graphql_socket::GraphQlSocket;
pub use reader::RoomReader;
pub use session::Client;
pub use socket::{Event, Socket};
pub use state::RoomState;
pub use stream::EventStream;
