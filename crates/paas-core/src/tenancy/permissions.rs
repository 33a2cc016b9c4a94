//! Every permission, and the least role that has it.
//!
//! | permission | least role | allows |
//! |---|---|---|
//! | `org.create` `org.delete` | platform administrator | making and deleting organisations |
//! | `org.update` | owner | changing an organisation |
//! | `org.read` | viewer | seeing an organisation |
//! | `env.create` `env.update` `env.delete` | owner | making, changing and deleting environments |
//! | `env.read` | viewer | seeing an environment |
//! | `app.create` `app.delete` | owner | making and deleting applications |
//! | `app.read` | viewer | seeing an application: status, releases, differences, deletions before they happen |
//! | `app.deploy` | developer | deploying, restarting, aborting, trying again, pausing, going on |
//! | `app.rollback` | developer | returning to an earlier release |
//! | `app.scale` | developer | changing numbers of instances |
//! | `app.switch` | developer | taking offline and bringing back |
//! | `route.write` | developer | changing access points |
//! | `config.read` | viewer | seeing settings, and of secrets the names, versions and times |
//! | `config.write` | developer | changing settings |
//! | `secret.write` | developer | setting, unsetting and revoking secrets |
//! | `logs.read` | viewer | reading what instances print |
//! | `exec.run` | developer | running commands in instances, and one-off commands |
//! | `events.read` | viewer | seeing events |
//! | `audit.read` | viewer | seeing the audit trail |
//! | `role.read` | viewer | seeing who has which role |
//! | `role.grant` | owner | granting and revoking the roles viewer, developer and owner |
//! | `cluster.read` | viewer | seeing which clusters there are, and their machines |
//! | `cluster.write` | platform administrator | adding, changing and removing clusters |
//! | `node.write` | platform administrator | keeping instances away from machines, and emptying them |
//! | `platform.administer` | platform administrator | granting and revoking the role of platform administrator |
//!
//! A role on a scope counts for everything inside it: the platform contains all, an organisation its environments
//! and applications, an environment or an application the application in the environment. Nothing else is allowed.

use crate::port::{Permission, Role};

macro_rules! permissions {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $role:ident;)*) => {
        $($(#[$doc])* pub const $name: Permission = Permission($text);)*

        /// Every permission with the least role that has it.
        pub const ALL: &[(Permission, Role)] = &[$(($name, Role::$role)),*];
    };
}

permissions! {
    /// Making an organisation.
    ORG_CREATE = "org.create", PlatformAdmin;
    /// Deleting an organisation.
    ORG_DELETE = "org.delete", PlatformAdmin;
    /// Changing an organisation.
    ORG_UPDATE = "org.update", Owner;
    /// Seeing an organisation.
    ORG_READ = "org.read", Viewer;
    /// Making an environment.
    ENV_CREATE = "env.create", Owner;
    /// Changing an environment.
    ENV_UPDATE = "env.update", Owner;
    /// Deleting an environment.
    ENV_DELETE = "env.delete", Owner;
    /// Seeing an environment.
    ENV_READ = "env.read", Viewer;
    /// Making an application.
    APP_CREATE = "app.create", Owner;
    /// Deleting an application.
    APP_DELETE = "app.delete", Owner;
    /// Seeing an application, its status and its releases.
    APP_READ = "app.read", Viewer;
    /// Deploying, restarting, and steering a release that is under way.
    APP_DEPLOY = "app.deploy", Developer;
    /// Returning to an earlier release.
    APP_ROLLBACK = "app.rollback", Developer;
    /// Changing numbers of instances.
    APP_SCALE = "app.scale", Developer;
    /// Taking offline and bringing back.
    APP_SWITCH = "app.switch", Developer;
    /// Changing access points.
    ROUTE_WRITE = "route.write", Developer;
    /// Seeing settings, and that there are secrets.
    CONFIG_READ = "config.read", Viewer;
    /// Changing settings.
    CONFIG_WRITE = "config.write", Developer;
    /// Setting, unsetting and revoking secrets.
    SECRET_WRITE = "secret.write", Developer;
    /// Reading what instances print.
    LOGS_READ = "logs.read", Viewer;
    /// Running commands.
    EXEC_RUN = "exec.run", Developer;
    /// Seeing events.
    EVENTS_READ = "events.read", Viewer;
    /// Seeing the audit trail.
    AUDIT_READ = "audit.read", Viewer;
    /// Seeing who has which role.
    ROLE_READ = "role.read", Viewer;
    /// Granting and revoking roles below that of platform administrator.
    ROLE_GRANT = "role.grant", Owner;
    /// Seeing which clusters there are.
    CLUSTER_READ = "cluster.read", Viewer;
    /// Adding, changing and removing clusters.
    CLUSTER_WRITE = "cluster.write", PlatformAdmin;
    /// Keeping instances away from machines, and emptying them.
    NODE_WRITE = "node.write", PlatformAdmin;
    /// Granting and revoking the role of platform administrator.
    PLATFORM_ADMINISTER = "platform.administer", PlatformAdmin;
}
