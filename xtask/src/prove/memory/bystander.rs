//! Somebody at another address, who signs in, writes and reads while others hold everything up.

use super::{super::retry::patiently, holding::Credentials};
use anyhow::{Context, Result};
use roost_client::{Client, Endpoint, Socket};
use roost_schema::{CreateBoard, Login, OpId, Register, RoomId, Secret, SendMessage};
use std::{
    net::{IpAddr, Ipv4Addr},
    time::{Duration, Instant},
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

const ADDRESS: IpAddr = IpAddr::V4(Ipv4Addr::new(127, 0, 8, 1));
const EMAIL: &str = "bystander@example.org";
const PASSWORD: &str = "correct horse battery";
/// Longer than this is not served.
const PATIENCE: Duration = Duration::from_secs(10);
/// One account may sign in once in 3 s from one address, after the first twenty.
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

    /// What those who hold back sign in with: one account, as many connections.
    pub(super) async fn credentials(&self) -> Result<Credentials> {
        Ok(Credentials {
            token: self.client.access_token().await?.expose().to_owned(),
            room: self.room,
        })
    }

    /// Asks again and again, until the end; how often, and what took longest. Whatever fails is an error.
    pub(super) async fn be_served(&self, end: &CancellationToken) -> Result<(usize, Duration)> {
        let (mut times, mut slowest) = (0, Duration::ZERO);
        while !end.is_cancelled() {
            let began = Instant::now();
            let visit = timeout(PATIENCE, self.visit()).await;
            visit
                .context("a bystander was not served in time")?
                .context("a bystander was not served")?;
            slowest = slowest.max(began.elapsed());
            times += 1;
            end.run_until_cancelled(sleep(PAUSE)).await;
        }
        Ok((times, slowest))
    }

    /// As a page does that is opened: sign in, read, write, connect.
    async fn visit(&self) -> Result<()> {
        let login = Login {
            email: EMAIL.to_owned(),
            password: Secret::new(PASSWORD),
        };
        let client = patiently(PATIENCE, async || self.endpoint.login(&login).await).await?;
        patiently(PATIENCE, async || client.me().await).await?;
        let message = SendMessage {
            text: "hello".to_owned(),
            id: None,
            op_id: Some(OpId::from_kept(Uuid::now_v7().to_string())),
        };
        patiently(PATIENCE, async || {
            client.send_message(self.room, &message).await
        })
        .await?;
        let socket = patiently(PATIENCE, async || Socket::connect(&client).await).await?;
        drop(socket);
        patiently(PATIENCE, async || client.logout().await).await?;
        Ok(())
    }
}
