//! `paas route`

use paas_core::action::RoutesView;
use paas_core::engine::AppStatus;
use paas_core::model::RouteSpec;
use reqwest::Method;

use super::{Session, in_app};
use crate::cli::args::RouteCommand;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Text};

pub async fn run(session: &Session, command: RouteCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    match command {
        RouteCommand::List { app } => {
            let at = session.context.app(&app)?;
            let routes: RoutesView = client.get(&in_app(&at, "/routes")).await?;
            if !output.is_table() {
                return output.show(&routes, |_| String::new());
            }
            let status: AppStatus = client.get(&in_app(&at, "")).await?;
            crate::cli::output::print(&table(output, &routes, &status))
        }
        RouteCommand::Add { app, name, component, port, host, path, tcp_port } => {
            let at = session.context.app(&app)?;
            let route = RouteSpec { name, host, path, tcp_port, component, port };
            let routes: RoutesView =
                client.change(Method::POST, &in_app(&at, "/routes"), Some(&route)).await?;
            output.show(&routes, |_| format!("access point {} was added\n", route.name))
        }
        RouteCommand::Remove { app, name } => {
            let at = session.context.app(&app)?;
            let routes: RoutesView =
                client.change(Method::DELETE, &in_app(&at, &format!("/routes/{name}")), None::<&()>).await?;
            output.show(&routes, |_| format!("access point {name} was removed\n"))
        }
    }
}

fn table(output: Output, routes: &RoutesView, status: &AppStatus) -> String {
    let rows = routes.routes.iter().map(|route| {
        let known = status.routes.iter().find(|known| known.route.name == route.name);
        let addresses: Vec<&str> =
            known.iter().flat_map(|known| known.addresses.values()).map(String::as_str).collect();
        let port = route.port.as_ref().map_or(String::new(), |port| format!(":{port}"));
        vec![
            route.name.to_string().into(),
            format!("{}{port}", route.component).into(),
            Text::from(addresses.join(" ")),
        ]
    });
    output.table(&["ROUTE", "LEADS TO", "ADDRESS"], rows.collect())
}
