//! REST: signed-in reads, pages of messages, durable writes, and sign-ins, one after the other.

use super::{
    pairs,
    requests::{Part, endpoints, measure},
};
use crate::{
    people::Person,
    recorder::Timing,
    report::Report,
    rooms::{self, Room, op_id},
    run::Run,
};
use anyhow::Result;
use clap::Args;
use futures::{StreamExt, TryStreamExt, stream};
use reqwest::{Method, RequestBuilder};
use roost_client::{Client, Endpoint};
use roost_schema::SendMessage;
use serde_json::json;

const SECONDS: u64 = 8;
/// Messages that are in each room before pages are read.
const HISTORY: usize = 60;
const PARALLEL: usize = 16;

#[derive(Clone, Debug, Args)]
pub struct Rest {
    #[arg(long, default_value_t = 50)]
    pub people: usize,
    /// `GET /me` a second.
    #[arg(long, default_value_t = 1_000.0)]
    pub reads: f64,
    /// Pages of 50 messages a second.
    #[arg(long, default_value_t = 300.0)]
    pub pages: f64,
    /// Messages a second.
    #[arg(long, default_value_t = 300.0)]
    pub writes: f64,
    /// Sign-ins a second; none against a server that keeps no passwords.
    #[arg(long, default_value_t = 5.0)]
    pub sign_ins: f64,
}

/// Who asks, and where.
#[derive(Clone)]
struct Caller {
    endpoint: Endpoint,
    token: String,
    email: String,
    room: String,
}

impl Rest {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        let people = run.people(self.people).await?;
        let rooms = rooms::open(&people, pairs(self.people)).await?;
        fill(&people, &rooms).await?;
        let callers = callers(run.url(), &people, &rooms).await?;
        let mut report = Report::new("rest");
        for (timing, rate) in [
            (Timing::Read, self.reads),
            (Timing::Page, self.pages),
            (Timing::Write, self.writes),
            (Timing::SignIn, self.sign_ins),
        ] {
            if rate == 0.0 {
                continue;
            }
            let part = Part {
                timing,
                rate,
                duration: run.duration(SECONDS),
            };
            let callers = callers.clone();
            let make = move |number: u64| {
                let place = usize::try_from(number)? % callers.len();
                callers[place].request(timing)
            };
            measure(run, &part, &mut report, make).await?;
        }
        report.add_count("errors", run.recorder.errors().values().sum());
        Ok(report)
    }
}

/// So that a page is full.
pub(super) async fn fill(people: &[Person], rooms: &[Room]) -> Result<()> {
    let filled = stream::iter(people.iter().zip(rooms)).map(async |(person, room)| {
        for number in 0..HISTORY {
            let message = SendMessage {
                text: format!("Message {number} of a history that is read in pages"),
                id: None,
                op_id: Some(op_id()?),
            };
            let client = person.client()?;
            crate::people::repeat(async || client.send_message(room.id, &message).await).await?;
        }
        anyhow::Ok(())
    });
    filled
        .buffered(PARALLEL)
        .try_for_each(async |()| Ok(()))
        .await
}

async fn callers(url: &str, people: &[Person], rooms: &[Room]) -> Result<Vec<Caller>> {
    let endpoints = endpoints(url)?;
    let mut callers = Vec::new();
    for (number, (person, room)) in people.iter().zip(rooms).enumerate() {
        let client: &Client = person.client()?;
        callers.push(Caller {
            endpoint: endpoints[number % endpoints.len()].clone(),
            token: client.access_token().await?.expose().to_owned(),
            email: client.signed_in().user.email,
            room: room.id.to_string(),
        });
    }
    Ok(callers)
}

impl Caller {
    fn request(&self, timing: Timing) -> Result<RequestBuilder> {
        let messages = format!("/api/v1/rooms/{}/messages", self.room);
        let request = |method, path: &str| {
            let request = self.endpoint.request(method, path);
            request.bearer_auth(&self.token)
        };
        Ok(match timing {
            Timing::Page => request(Method::GET, &messages).query(&[("limit", "50")]),
            Timing::Write => {
                let message =
                    json!({ "text": "A message of a sentence or two.", "opId": op_id()? });
                request(Method::POST, &messages).json(&message)
            }
            Timing::SignIn => {
                let login = json!({ "email": self.email, "password": crate::people::PASSWORD });
                self.endpoint
                    .request(Method::POST, "/api/v1/auth/login")
                    .json(&login)
            }
            _ => request(Method::GET, "/api/v1/me"),
        })
    }
}
