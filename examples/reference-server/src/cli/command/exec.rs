//! `paas exec` and `paas run`

use paas_core::engine::RunRecord;
use paas_core::port::RunInput;
use reqwest::Method;

use super::{Session, in_app};
use crate::cli::args::{ExecArgs, RunArgs};
use crate::cli::failure::{Exit, Failure};
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
    if args.tty && !terminal::is_terminal() {
        return Err(Failure::usage("-t needs a terminal, and the standard input is none")
            .with_remedy("Leave -t out; -i alone passes the standard input on."));
    }
    let input = match (args.tty, args.interactive) {
        (true, _) => RunInput::Terminal,
        (false, true) => RunInput::Stream,
        (false, false) => RunInput::None,
    };
    let command = Some(args.command).filter(|words| !words.is_empty());
    let new = NewRun { component: args.component, command, input };
    let run: RunRecord = client.change(Method::POST, &in_app(&at, "/runs"), Some(&new)).await?;
    let terminal = args.tty.then(terminal::size);
    let start = Start { command: Vec::new(), instance: None, terminal, stdin: args.interactive };
    let path = in_app(&at, &format!("/runs/{}/attach", run.id));
    let outcome = websocket::run(&client, &path, start).await;
    // One of a scheduled job is kept with the others. One that lives with the connection is hung up already, and ends as it
    // likes.
    let is_hung_up =
        input.is_interactive() && outcome.as_ref().is_err_and(|failure| failure.exit == Exit::Unreachable);
    if !run.is_of_schedule() && !is_hung_up {
        let run = in_app(&at, &format!("/runs/{}", run.id));
        let () = client.change(Method::DELETE, &run, None::<&()>).await?;
    }
    ended(outcome?)
}

fn ended(code: i32) -> Result<(), Failure> {
    if code == 0 { Ok(()) } else { Err(Failure::command(code)) }
}
