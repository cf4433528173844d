//! A journal that is full of other rooms' messages, for scenarios that ask what its length costs.

use anyhow::{Context, Result};
use roost_testbed::{
    process,
    servers::{Server, postgres},
};
use std::{
    io::{BufWriter, Write},
    process::Stdio,
};

/// What entries there are is dealt among so many rooms. No scenario enters them.
const ROOMS: usize = 100;
const COPY: &str = "COPY journal (room, seq, item, kind, op, actor, request_hash, at_ms, born, is_current, size_bytes, body) \
                    FROM STDIN";
/// Otherwise the database would do it by itself while something is measured.
const SETTLE: &str = "VACUUM (ANALYZE) journal";
const AT_MS: u64 = 1_767_225_600_000;
const AUTHOR: &str = "00000000-0000-7000-8000-000000000000";

/// Adds entries to a journal in `PostgreSQL`, as a release without seals wrote them.
pub(super) fn fill(server: &Server, entries: usize) -> Result<()> {
    let mut copy = postgres::psql(server)?;
    let mut copying = copy.args(["-c", COPY]).stdin(Stdio::piped()).spawn()?;
    let mut lines = BufWriter::new(copying.stdin.take().context("psql reads nothing")?);
    for number in 0..entries {
        write_entry(&mut lines, number)?;
    }
    drop(lines.into_inner()?);
    let status = copying.wait()?;
    anyhow::ensure!(
        status.success(),
        "psql ended with {}",
        process::describe(status)
    );
    process::output(postgres::psql(server)?.args(["-c", SETTLE])).map(drop)
}

/// A line in the text format of COPY, which parts columns by tabs.
fn write_entry(out: &mut impl Write, number: usize) -> Result<()> {
    let (room, seq) = (number % ROOMS, number / ROOMS + 1);
    let at = AT_MS + u64::try_from(number)?;
    let body = format!(
        "{{\"authorId\":\"{AUTHOR}\",\"text\":\"message {number}\",\"createdAt\":\"2026-01-01T00:00:00Z\"}}"
    );
    let size = body.len();
    writeln!(
        out,
        "00000000-0000-7000-8001-{room:012x}\t{seq}\t00000000-0000-7000-8002-{number:012x}\tmessage\tput\t{AUTHOR}\t\
         \\\\x{number:064x}\t{at}\t{seq}\tt\t{size}\t{body}",
    )?;
    Ok(())
}
