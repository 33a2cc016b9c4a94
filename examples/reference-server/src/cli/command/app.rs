//! `paas app`

use paas_core::action::{AppInfo, DeletionPreview, NewApp, Versioned};
use paas_core::engine::AppRecord;
use reqwest::Method;

use super::{Session, all, consent, in_org};
use crate::cli::args::AppCommand;
use crate::cli::failure::Failure;
use crate::cli::output::Text;

pub async fn run(session: &Session, command: AppCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    let org = session.context.org()?;
    match command {
        AppCommand::List => {
            let apps: Vec<Versioned<AppRecord>> = all(&client, &in_org(&org, "/apps")).await?;
            output.show(&apps, |apps| {
                let rows = apps.iter().map(|app| {
                    let app = &app.value;
                    let state = if app.deleting.is_some() { "being deleted" } else { "" };
                    vec![
                        app.name.to_string().into(),
                        app.display_name.clone().into(),
                        Text::time(app.created_at),
                        state.into(),
                    ]
                });
                output.table(&["APPLICATION", "DISPLAY NAME", "CREATED", ""], rows.collect())
            })
        }
        AppCommand::Create { name, display_name } => {
            let new = NewApp { name, display_name };
            let app: Versioned<AppRecord> =
                client.change(Method::POST, &in_org(&org, "/apps"), Some(&new)).await?;
            output.show(&app, |app| format!("application {}/{} was made\n", app.value.org, app.value.name))
        }
        AppCommand::Show { name } => {
            let app: Versioned<AppInfo> = client.get(&in_org(&org, &format!("/apps/{name}"))).await?;
            output.show(&app, |app| {
                let AppInfo { app, environments } = &app.value;
                let places: Vec<&str> = environments.iter().map(AsRef::as_ref).collect();
                let row = vec![
                    app.name.to_string().into(),
                    app.display_name.clone().into(),
                    Text::time(app.created_at),
                    places.join(" ").into(),
                ];
                output.table(&["APPLICATION", "DISPLAY NAME", "CREATED", "ENVIRONMENTS"], vec![row])
            })
        }
        AppCommand::Delete { name, yes } => {
            let path = in_org(&org, &format!("/apps/{name}"));
            if !yes {
                let app: Versioned<AppInfo> = client.get(&path).await?;
                let places: Vec<&str> = app.value.environments.iter().map(AsRef::as_ref).collect();
                let places = if places.is_empty() { "it runs nowhere".to_owned() } else { places.join(", ") };
                consent(&format!("Delete {org}/{name} with everything it has ({places})?"))?;
            }
            let lost: Vec<DeletionPreview> =
                client.change(Method::DELETE, &format!("{path}?confirm={name}"), None::<&()>).await?;
            output.show(&lost, |_| format!("application {org}/{name} is being deleted\n"))
        }
    }
}
