//! `paas exec` and `paas run`

use paas_core::engine::RunRecord;
use reqwest::Method;

use super::{Session, in_app};
use crate::cli::args::{ExecArgs, RunArgs};
use crate::cli::failure::Failure;
use crate::cli::{terminal, websocket};
use crate::rest::change::NewRun;
use crate::rest::exec::Start;

pub async fn exec(session: &Session, args: ExecArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let start = Start {
        command: args.command,
        instance: args.instance,
        terminal: args.tty.then(terminal::size),
        stdin: args.interactive,
    };
    let path = in_app(&at, &format!("/components/{}/exec", args.component));
    ended(websocket::run(&client, &path, start).await?)
}

pub async fn run(session: &Session, args: RunArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let at = session.context.app(&args.app)?;
    let new = NewRun { component: args.component, command: Some(args.command) };
    let run: RunRecord = client.change(Method::POST, &in_app(&at, "/runs"), Some(&new)).await?;
    let start = Start { command: Vec::new(), instance: None, terminal: None, stdin: false };
    let path = in_app(&at, &format!("/runs/{}/attach", run.id));
    let outcome = websocket::run(&client, &path, start).await;
    let () = client.change(Method::DELETE, &in_app(&at, &format!("/runs/{}", run.id)), None::<&()>).await?;
    ended(outcome?)
}

fn ended(code: i32) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::command(code)) }
}
