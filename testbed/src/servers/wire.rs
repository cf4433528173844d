//! One command and its answer in the MongoDB wire protocol, enough to ask a server what it is.
//!
//! The message: <https://github.com/mongodb/specifications/blob/master/source/message/OP_MSG.md>

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use bson::Document;

const OP_MSG: i32 = 2013;
const HEADER_BYTES: usize = 16;
/// The header, the flags and the kind byte of the only section.
const PREFIX_BYTES: usize = HEADER_BYTES + 4 + 1;
const ANSWER_BYTES_MAX: usize = 1 << 20;
const PATIENCE: Duration = Duration::from_secs(2);

/// Sends one command to the server on 127.0.0.1:`port` and gives its answer.
pub(super) fn command(port: u16, command: &Document) -> Result<Document> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    stream.write_all(&encode(command)?)?;

    let mut length = [0; 4];
    stream.read_exact(&mut length)?;
    let length = usize::try_from(i32::from_le_bytes(length))?;
    if !(PREFIX_BYTES..=ANSWER_BYTES_MAX).contains(&length) {
        bail!("an answer of {length} bytes is not one of the MongoDB wire protocol");
    }
    let mut rest = vec![0; length - 4];
    stream.read_exact(&mut rest)?;
    let body = rest.get(PREFIX_BYTES - 4..).context("a short answer")?;
    Ok(Document::from_reader(body)?)
}

fn encode(command: &Document) -> Result<Vec<u8>> {
    let mut body = Vec::new();
    command.to_writer(&mut body)?;
    let length = i32::try_from(PREFIX_BYTES + body.len())?;
    let mut message = Vec::with_capacity(PREFIX_BYTES + body.len());
    for number in [length, 1, 0, OP_MSG, 0] {
        message.extend_from_slice(&number.to_le_bytes());
    }
    message.push(0);
    message.extend_from_slice(&body);
    Ok(message)
}
