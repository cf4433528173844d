//! A bystander at another address, who signs in, writes and reads while other connections hold back bytes.

use super::{super::retry::retry_unavailable, holding::Credentials};
use anyhow::{Context, Result};
use roost_client::{Client, Endpoint, Error, Socket};
use roost_schema::{CreateBoard, Login, OpId, Register, RoomId, Secret, SendMessage};
use std::{
    fmt,
    net::{IpAddr, Ipv4Addr},
    time::Duration,
};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 8, 1));
const EMAIL: &str = "bystander@example.org";
const PASSWORD: &str = "correct horse battery";
/// A step that takes longer has failed.
const PATIENCE: Duration = Duration::from_secs(10);
/// After the first twenty, one account may sign in once in 3 s from one address.
const PAUSE: Duration = Duration::from_secs(3);

pub(super) struct Bystander {
    endpoint: Endpoint,
    client: Client,
    room: RoomId,
}

impl Bystander {
    pub(super) async fn register(url: &str) -> Result<Self> {
        let endpoint = Endpoint::new(url)?.from_address(ADDRESS)?;
        let client = endpoint
            .register(&Register {
                email: EMAIL.to_owned(),
                password: Secret::new(PASSWORD),
                name: "Bystander".to_owned(),
                op_id: None,
            })
            .await?;
        let board = CreateBoard {
            title: "Plan".to_owned(),
            op_id: None,
        };
        let room = client.create_board(&board).await?.id;
        let bystander = Self {
            endpoint,
            client,
            room,
        };
        bystander.visit().await?;
        Ok(bystander)
    }

    /// The credentials of all connections that hold back bytes with an account: they share this one.
    pub(super) async fn credentials(&self) -> Result<Credentials> {
        Ok(Credentials {
            token: self.client.access_token().await?.expose().to_owned(),
            room: self.room,
        })
    }

    /// Repeats visits until the end. Answers their number and the slowest step. Any failure is an error.
    pub(super) async fn be_served(&self, end: &CancellationToken) -> Result<(usize, Slowest)> {
        let (mut times, mut slowest) = (0, Slowest::default());
        while !end.is_cancelled() {
            slowest = slowest.max(self.visit().await?);
            times += 1;
            end.run_until_cancelled(sleep(PAUSE)).await;
        }
        Ok((times, slowest))
    }

    /// Does what an opened page does: sign in, read, write, connect. Answers the slowest step.
    async fn visit(&self) -> Result<Slowest> {
        let login = Login {
            email: EMAIL.to_owned(),
            password: Secret::new(PASSWORD),
        };
        let message = SendMessage {
            text: "hello".to_owned(),
            id: None,
            op_id: Some(OpId::from_kept(Uuid::now_v7().to_string())),
        };
        let until = Instant::now() + PATIENCE;
        let (client, sign_in) = timed(until, "signing in", async || {
            self.endpoint.login(&login).await
        })
        .await?;
        let (_, read) = timed(until, "reading", async || client.me().await).await?;
        let send = async || client.send_message(self.room, &message).await;
        let (_, write) = timed(until, "writing", send).await?;
        let connect = async || Socket::connect(&client).await;
        let (socket, connect) = timed(until, "connecting", connect).await?;
        drop(socket);
        let ((), sign_out) = timed(until, "signing out", async || client.logout().await).await?;
        let steps = [sign_in, read, write, connect, sign_out];
        Ok(steps.into_iter().max().unwrap_or_default())
    }
}

/// The slowest step and how long it took.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Slowest {
    took: Duration,
    step: &'static str,
}

impl fmt::Display for Slowest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} took {:.2} s", self.step, self.took.as_secs_f64())
    }
}

/// One step of a visit, retried as clients do until `until`.
async fn timed<T>(
    until: Instant,
    step: &'static str,
    call: impl AsyncFn() -> Result<T, Error>,
) -> Result<(T, Slowest)> {
    let began = Instant::now();
    let done = timeout_at(until, retry_unavailable(PATIENCE, call)).await;
    let done = done
        .with_context(|| format!("a bystander was not served in time: {step}"))?
        .with_context(|| format!("a bystander was not served: {step}"))?;
    let took = began.elapsed();
    Ok((done, Slowest { took, step }))
}
