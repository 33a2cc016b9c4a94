//! `paas login`, `logout`, `grant`, `token`, `audit`

use std::io::{IsTerminal as _, Read as _};

use paas_core::action::{AuditPage, Versioned};
use paas_core::engine::Grant;
use paas_core::port::Scope;
use paas_core::tenancy::AuditResult;
use reqwest::Method;

use super::{Session, all};
use crate::cli::args::{AuditArgs, Common, GrantCommand, LoginArgs, TokenCommand};
use crate::cli::client::Client;
use crate::cli::context::Login;
use crate::cli::failure::{Exit, Failure};
use crate::cli::output::{Text, Tone, seconds};
use crate::rest::scope::ScopeName;
use crate::rest::token::{NewToken, TokenMade, TokenView, WhoAmI};

pub async fn login(session: &Session, common: &Common, args: LoginArgs) -> Result<(), Failure> {
    let server = common.server.clone().unwrap_or(args.url);
    let server = server.trim_end_matches('/').to_owned();
    let before = session.context.login();
    let known = before.token.clone().filter(|_| before.server.as_ref() == Some(&server));
    let token = match (&args.token_file, std::env::var("PAAS_TOKEN")) {
        (Some(file), _) => std::fs::read_to_string(file).map_err(|error| {
            Failure::new(Exit::Error, format!("failed to read {}: {error}", file.display()))
        })?,
        (None, Ok(token)) if !token.is_empty() => token,
        // Only the organisation or the environment changes.
        (None, _) if known.is_some() && (common.org.is_some() || common.env.is_some()) => {
            known.unwrap_or_default()
        }
        (None, _) => read_token()?,
    };
    let token = token.trim().to_owned();
    let client = Client::to(&server, Some(token.clone()))?;
    let who: WhoAmI = client.get("/whoami").await?;
    let same = before.server.as_ref() == Some(&server);
    let login = Login {
        server: Some(server.clone()),
        token: Some(token),
        org: common.org.clone().or_else(|| before.org.clone().filter(|_| same)),
        env: common.env.clone().or_else(|| before.env.clone().filter(|_| same)),
    };
    session.context.keep(&login)?;
    session.output.show(&who, |who| {
        format!("logged in to {server} as {}; kept in {}\n", who.actor, session.context.file().display())
    })
}

fn read_token() -> Result<String, Failure> {
    let mut stdin = std::io::stdin().lock();
    if stdin.is_terminal() {
        drop(stdin);
        eprint!("token: ");
        let line = crate::cli::terminal::read_hidden_line()?;
        return String::from_utf8(line).map_err(|_| Failure::usage("what was typed is not a token"));
    }
    let mut token = String::new();
    stdin.read_to_string(&mut token)?;
    Ok(token)
}

pub fn logout(session: &Session) -> Result<(), Failure> {
    session.context.forget()?;
    session.output.say("the login was forgotten; `paas token revoke` makes a token invalid")
}

/// The scope that was named, or the organisation.
fn scope(session: &Session, named: Option<ScopeName>) -> Result<ScopeName, Failure> {
    match named {
        Some(scope) => Ok(scope),
        None => Ok(ScopeName(Scope::Org { org: session.context.org()? })),
    }
}

pub async fn grant(session: &Session, command: GrantCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    match command {
        GrantCommand::List { scope: named } => {
            let scope = scope(session, named)?;
            let grants: Vec<Versioned<Grant>> = all(&client, &format!("/grants?scope={scope}")).await?;
            output.show(&grants, |grants| {
                let rows = grants.iter().map(|grant| {
                    let grant = &grant.value;
                    vec![
                        grant.actor.clone().into(),
                        word(&grant.role).into(),
                        ScopeName(grant.scope.clone()).into(),
                        grant.granted_by.clone().into(),
                        Text::time(grant.granted_at),
                    ]
                });
                output.table(&["ACTOR", "ROLE", "SCOPE", "GRANTED BY", "GRANTED"], rows.collect())
            })
        }
        GrantCommand::Add { actor, role, scope: named } => {
            let new =
                crate::rest::grant::NewGrant { actor, role: role.into(), scope: scope(session, named)? };
            let grant: Versioned<Grant> = client.change(Method::PUT, "/grants", Some(&new)).await?;
            output.show(&grant, |grant| {
                let Grant { actor, role, scope, .. } = &grant.value;
                format!("{actor} is now {} on {scope}\n", word(role))
            })
        }
        GrantCommand::Remove { actor, scope: named } => {
            let scope = scope(session, named)?;
            let path = format!("/grants?actor={}&scope={scope}", actor.0);
            let () = client.change(Method::DELETE, &path, None::<&()>).await?;
            output.say(&format!("{} has no role on {} any more", actor.0, scope.0))
        }
    }
}

/// A plain value as the interface writes it.
fn word(value: &impl serde::Serialize) -> String {
    match serde_json::to_value(value) {
        Ok(serde_json::Value::String(word)) => word,
        Ok(other) => other.to_string(),
        Err(_) => String::new(),
    }
}

pub async fn token(session: &Session, command: TokenCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    match command {
        TokenCommand::List => {
            let who: WhoAmI = client.get("/whoami").await?;
            let mine = format!("/tokens?actor={}", who.actor);
            let tokens: Vec<TokenView> = match all(&client, "/tokens").await {
                Err(failure) if failure.exit == Exit::Denied => all(&client, &mine).await?,
                other => other?,
            };
            output.show(&tokens, |tokens| {
                let rows = tokens.iter().map(|token| {
                    let end = token.expires_at.map_or_else(|| "never".to_owned(), seconds);
                    vec![
                        token.id.clone().into(),
                        token.actor.clone().into(),
                        token.description.clone().into(),
                        Text::time(token.created_at),
                        end.into(),
                    ]
                });
                output.table(&["ID", "ACTOR", "DESCRIPTION", "CREATED", "EXPIRES"], rows.collect())
            })
        }
        TokenCommand::Create { user, description, expires } => {
            let seconds = expires.map(|span| u32::try_from(span.0.as_secs()).unwrap_or(u32::MAX));
            let new = NewToken { actor: user, description, expires_in_seconds: seconds };
            let request = client.request(Method::POST, "/tokens")?.json(&new);
            let response = client.send(request).await?;
            let made: TokenMade = response.json().await.map_err(|error| {
                Failure::new(Exit::Error, format!("the answer is not understood: {error}"))
            })?;
            if output.is_table() {
                eprintln!("token {} of {}; it is shown once:", made.token.id, made.token.actor);
            }
            output.show(&made, |made| format!("{}\n", made.secret))
        }
        TokenCommand::Revoke { id } => {
            let () = client.change(Method::DELETE, &format!("/tokens/{id}"), None::<&()>).await?;
            output.say(&format!("token {id} is invalid now"))
        }
    }
}

pub async fn audit(session: &Session, args: AuditArgs) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let scope = if args.platform { ScopeName(Scope::Platform) } else { scope(session, None)? };
    let query = [("scope", scope.to_string()), ("limit", args.limit.to_string())];
    let page: AuditPage = client.query("/audit", &query).await?;
    output.show(&page, |page| {
        let rows = page.items.iter().map(|entry| {
            let result = match &entry.result {
                AuditResult::Done => Text::toned("done", Tone::Good),
                AuditResult::Denied { reason, .. } => Text::toned(format!("denied: {reason}"), Tone::Bad),
                _ => "".into(),
            };
            vec![
                entry.sequence.into(),
                Text::time(entry.at),
                entry.actor.clone().into(),
                entry.action.clone().into(),
                entry.scope.clone().into(),
                result,
            ]
        });
        let mut text = output.table(&["NUMBER", "TIME", "ACTOR", "ACTION", "ON", "RESULT"], rows.collect());
        if let Some(broken) = &page.broken {
            text.push_str(&output.paint(&format!("the chain of entries is broken: {broken}\n"), Tone::Bad));
        }
        text
    })
}
