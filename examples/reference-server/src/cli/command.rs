//! Carries a command out.

mod access;
mod app;
mod cluster;
mod config;
mod delete;
mod deploy;
mod env;
mod exec;
mod init;
mod logs;
mod node;
mod org;
mod release;
mod route;
mod runs;
mod scale;
mod status;
mod traffic;

use std::io::{self, BufRead as _, IsTerminal as _, Write as _};
use std::process::ExitCode;

use clap::CommandFactory as _;
use paas_core::AppEnv;
use paas_core::action::ListPage;
use serde::de::DeserializeOwned;

use super::args::{Arguments, Command, Common, Format};
use super::client::Client;
use super::context::Context;
use super::failure::{Exit, Failure};
use super::output::Output;

/// What every command works with.
pub struct Session {
    pub context: Context,
    pub output: Output,
}

impl Session {
    /// A client of the server.
    pub fn client(&self) -> Result<Client, Failure> {
        Client::new(&self.context)
    }
}

/// Carries `command` out and tells how it ended.
pub fn run(common: &Common, command: Command) -> ExitCode {
    // One thread is enough for one request at a time, and starts fastest.
    let outcome =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::from).and_then(
            |runtime| {
                let outcome = runtime.block_on(carry_out(common, command));
                // A thread may still wait for input that nobody wants any more.
                runtime.shutdown_background();
                outcome
            },
        );
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            complain(common, &failure);
            ExitCode::from(failure.exit.code())
        }
    }
}

async fn carry_out(common: &Common, command: Command) -> Result<(), Failure> {
    let output = Output::new(common);
    if let Command::Completion { shell } = command {
        let mut script = Vec::new();
        clap_complete::generate(shell, &mut Arguments::command(), "paas", &mut script);
        return super::output::print(&String::from_utf8_lossy(&script));
    }
    if let Command::Init { folder } = command {
        return init::run(output, &folder);
    }
    let session = Session { context: Context::load(common)?, output };
    match command {
        Command::Server(_) | Command::Completion { .. } | Command::Init { .. } => Ok(()),
        Command::Login(args) => access::login(&session, common, args).await,
        Command::Logout => access::logout(&session),
        Command::Org(command) => org::run(&session, command).await,
        Command::Env(command) => env::run(&session, command).await,
        Command::Cluster(command) => cluster::run(&session, command).await,
        Command::Node(command) => node::run(&session, command).await,
        Command::App(command) => app::run(&session, command).await,
        Command::Deploy(args) => deploy::run(&session, args).await,
        Command::Status(args) => status::run(&session, args).await,
        Command::Top(args) => node::top(&session, args).await,
        Command::Traffic(args) => traffic::run(&session, args).await,
        Command::Logs(args) => logs::run(&session, args).await,
        Command::Exec(args) => exec::exec(&session, args).await,
        Command::Run(args) => exec::run(&session, args).await,
        Command::Runs(args) => runs::run(&session, args).await,
        Command::Scale(args) => scale::run(&session, args).await,
        Command::Restart(args) => release::restart(&session, args).await,
        Command::Stop(args) => scale::stop(&session, args).await,
        Command::Start(args) => scale::start(&session, args).await,
        Command::Releases(args) => release::list(&session, args).await,
        Command::Diff(args) => release::diff(&session, args).await,
        Command::Rollback(args) => release::rollback(&session, args).await,
        Command::Abort(args) => release::abort(&session, args).await,
        Command::Retry(args) => release::control(&session, args, "retry", "goes on").await,
        Command::Pause(args) => release::control(&session, args, "pause", "is paused").await,
        Command::Resume(args) => release::control(&session, args, "resume", "goes on").await,
        Command::Config(command) => config::config(&session, command).await,
        Command::Secret(command) => config::secret(&session, command).await,
        Command::Route(command) => route::run(&session, command).await,
        Command::Events(args) => logs::events(&session, args).await,
        Command::Delete(args) => delete::run(&session, args).await,
        Command::Grant(command) => access::grant(&session, command).await,
        Command::Token(command) => access::token(&session, command).await,
        Command::Audit(args) => access::audit(&session, args).await,
    }
}

/// Says why a command failed, on the standard error: for programs as the problem that the server sent.
fn complain(common: &Common, failure: &Failure) {
    if let (Format::Json, Some(problem)) = (common.output, &failure.problem)
        && let Ok(text) = serde_json::to_string(problem)
    {
        eprintln!("{text}");
        return;
    }
    if failure.message.is_empty() {
        return;
    }
    let color = io::stderr().is_terminal() && Output::new(common).is_colored();
    let (red, plain) = if color { ("\u{1b}[31;1m", "\u{1b}[0m") } else { ("", "") };
    eprintln!("{red}error:{plain} {}", super::output::printable(&failure.message));
    if let Some(remedy) = &failure.remedy {
        eprintln!("{}", super::output::printable(remedy));
    }
}

/// The path of an organisation's things.
fn in_org(org: &paas_core::OrgName, path: &str) -> String {
    format!("/orgs/{org}{path}")
}

/// The path of what belongs to an application in an environment.
fn in_app(at: &AppEnv, path: &str) -> String {
    format!("/orgs/{}/envs/{}/apps/{}{path}", at.org, at.env, at.app)
}

/// All items of a list, page after page.
async fn all<T: DeserializeOwned>(client: &Client, path: &str) -> Result<Vec<T>, Failure> {
    let mut items = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let mut query = vec![("limit", "500".to_owned())];
        query.extend(after.take().map(|after| ("after", after)));
        let page: ListPage<T> = client.query(path, &query).await?;
        items.extend(page.items);
        match page.next {
            Some(next) => after = Some(next),
            None => return Ok(items),
        }
    }
}

/// Asks for consent; without a terminal to ask on, `--yes` is needed.
fn consent(question: &str) -> Result<(), Failure> {
    if !super::terminal::is_terminal() {
        return Err(
            Failure::usage("there is no terminal to ask on").with_remedy("Repeat the command with --yes.")
        );
    }
    eprint!("{question} [y/N] ");
    io::stderr().flush()?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    match answer.trim().to_ascii_lowercase().as_str() {
        "y" | "yes" => Ok(()),
        _ => Err(Failure::new(Exit::Error, "nothing was done")),
    }
}

/// A choice between one and many.
fn plural(count: usize, one: &str, many: &str) -> String {
    if count == 1 { format!("1 {one}") } else { format!("{count} {many}") }
}
