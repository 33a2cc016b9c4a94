//! `paas org`

use paas_core::action::{NewOrg, OrgChange, Versioned};
use paas_core::model::Organization;
use reqwest::Method;

use super::{Session, all, consent, in_org};
use crate::cli::args::OrgCommand;
use crate::cli::failure::Failure;
use crate::cli::output::{Output, Text};

type Org = Versioned<Organization>;

pub async fn run(session: &Session, command: OrgCommand) -> Result<(), Failure> {
    let client = session.client()?;
    let output = session.output;
    match command {
        OrgCommand::List => {
            let orgs: Vec<Org> = all(&client, "/orgs").await?;
            output.show(&orgs, |orgs| table(output, orgs))
        }
        OrgCommand::Create { name, display_name } => {
            let org: Org = client.change(Method::POST, "/orgs", Some(&NewOrg { name, display_name })).await?;
            output.show(&org, |org| format!("organisation {} was made\n", org.value.name))
        }
        OrgCommand::Show { name } => {
            let org: Org = client.get(&in_org(&name, "")).await?;
            output.show(&org, |org| table(output, std::slice::from_ref(org)))
        }
        OrgCommand::Update { name, display_name } => {
            let change = OrgChange { display_name: Some(display_name) };
            let org: Org = client.change(Method::PATCH, &in_org(&name, ""), Some(&change)).await?;
            output.show(&org, |org| table(output, std::slice::from_ref(org)))
        }
        OrgCommand::Delete { name, yes } => {
            if !yes {
                consent(&format!("Delete the organisation {name}?"))?;
            }
            let () = client.change(Method::DELETE, &in_org(&name, ""), None::<&()>).await?;
            output.say(&format!("organisation {name} was deleted"))
        }
    }
}

fn table(output: Output, orgs: &[Org]) -> String {
    let rows = orgs.iter().map(|org| {
        let Organization { name, display_name, created_at } = &org.value;
        vec![name.into(), display_name.into(), Text::time(*created_at)]
    });
    output.table(&["ORGANISATION", "DISPLAY NAME", "CREATED"], rows.collect())
}
