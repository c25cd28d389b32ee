//! The recorded exchanges: `integration/recorded/NAME.http`, a request and the real answer.

use std::collections::BTreeMap;
use std::path::Path;

use crate::wire::{Answer, Request, header};

pub struct Exchange {
    pub request: Request,
    pub answer: Answer,
}

pub fn all() -> BTreeMap<String, Exchange> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("recorded");
    std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|file| {
            let name = file.file_stem().unwrap().to_str().unwrap().to_owned();
            (name, parse(&std::fs::read_to_string(file).unwrap()))
        })
        .collect()
}

fn parse(text: &str) -> Exchange {
    let (request, answer) = text.split_once("\nHTTP/1.1 ").unwrap();
    let (head, body) = request.split_once("\n\n").unwrap();
    let mut lines = head.lines();
    let mut first = lines.next().unwrap().split(' ');
    let request = Request {
        method: first.next().unwrap().to_owned(),
        path: first.next().unwrap().to_owned(),
        headers: lines.map(header).collect(),
        body: body.trim().to_owned(),
    };
    let (head, body) = answer.split_once("\n\n").unwrap();
    let mut answer = Answer::parse_head(&format!("HTTP/1.1 {head}"));
    body.trim().clone_into(&mut answer.body);
    Exchange { request, answer }
}
