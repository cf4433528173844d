//! GraphQL: signed-in reads, pages of messages with their authors, and durable writes, one after the other.

use super::{
    pairs,
    requests::{Part, endpoints, measure},
    rest::fill,
};
use crate::{
    recorder::Timing,
    report::Report,
    rooms::{self, op_id},
    run::Run,
};
use anyhow::Result;
use clap::Args;
use reqwest::Method;
use serde_json::json;

const SECONDS: u64 = 8;
const READ: &str = "{ me { id name } }";
const PAGE: &str = "query($room: RoomId!) {
    messages(room: $room, limit: 50) { items { id text createdAt author { name } } next } }";
const WRITE: &str = "mutation($room: RoomId!, $input: SendMessage!) {
    sendMessage(room: $room, input: $input) { id seq } }";

#[derive(Clone, Debug, Args)]
pub struct Graphql {
    #[arg(long, default_value_t = 50)]
    pub people: usize,
    /// `me` a second.
    #[arg(long, default_value_t = 500.0)]
    pub reads: f64,
    /// Pages of 50 messages a second.
    #[arg(long, default_value_t = 200.0)]
    pub pages: f64,
    /// Messages a second.
    #[arg(long, default_value_t = 200.0)]
    pub writes: f64,
}

impl Graphql {
    pub async fn run(&self, run: &Run) -> Result<Report> {
        let people = run.people(self.people).await?;
        let rooms = rooms::open(&people, pairs(self.people)).await?;
        fill(&people, &rooms).await?;
        let endpoints = endpoints(run.url())?;
        let mut tokens = Vec::new();
        for person in &people {
            tokens.push(person.client()?.access_token().await?.expose().to_owned());
        }
        let mut report = Report::new("graphql");
        for (timing, rate, query) in [
            (Timing::Read, self.reads, READ),
            (Timing::Page, self.pages, PAGE),
            (Timing::Write, self.writes, WRITE),
        ] {
            let part = Part {
                timing,
                rate,
                duration: run.duration(SECONDS),
            };
            let (endpoints, tokens, rooms) = (endpoints.clone(), tokens.clone(), rooms.clone());
            let make = move |number: u64| {
                let place = usize::try_from(number)? % rooms.len();
                let variables = match timing {
                    Timing::Page => json!({ "room": rooms[place].id }),
                    Timing::Write => {
                        let input = json!({ "text": "A message of a sentence.", "opId": op_id()? });
                        json!({ "room": rooms[place].id, "input": input })
                    }
                    _ => json!({}),
                };
                let endpoint = &endpoints[place % endpoints.len()];
                let request = endpoint.request(Method::POST, "/graphql");
                let body = json!({ "query": query, "variables": variables });
                Ok(request.bearer_auth(&tokens[place]).json(&body))
            };
            measure(run, &part, &mut report, make).await?;
        }
        report.add_count("errors", run.recorder.errors().values().sum());
        Ok(report)
    }
}
