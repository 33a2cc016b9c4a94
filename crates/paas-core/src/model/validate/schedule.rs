//! Rules of schedules.

use jiff::Timestamp;

use super::Checker;
use crate::model::schedule::{cron, zone};
use crate::model::{Component, ComponentKind};

/// The longest that a run may be late: a week, in seconds.
const MAX_DEADLINE: u64 = 604_800;

/// Checks that exactly the components which run by a schedule have one, and that it can be followed.
pub(super) fn schedule(check: &mut Checker<'_>, component: &Component) {
    let mut check = check.field("schedule");
    let Some(schedule) = &component.schedule else {
        check.require(component.kind != ComponentKind::ScheduledJob, || {
            "a scheduled job needs a schedule, such as `schedule: {cron: \"0 3 * * *\"}`".to_owned()
        });
        return;
    };
    if component.kind != ComponentKind::ScheduledJob {
        check.fault("only a component of the kind scheduled_job has a schedule; write `kind: scheduled_job`, or remove it");
        return;
    }
    match cron(&schedule.cron) {
        Err(fault) => check.field("cron").fault(fault),
        // Whether a date comes at all does not depend on where one begins to count.
        Ok(cron) => {
            let start = Timestamp::UNIX_EPOCH.to_zoned(jiff::tz::TimeZone::UTC);
            check.field("cron").require(cron.find_next_occurrence(&start, false).is_ok(), || {
                format!("{:?} names a date that never comes; change the day or the month", schedule.cron)
            });
        }
    }
    if let Err(fault) = zone(&schedule.time_zone) {
        check.field("time_zone").fault(fault);
    }
    check.field("starting_deadline_seconds").range(
        schedule.starting_deadline_seconds.into(),
        1,
        MAX_DEADLINE,
        " s",
    );
}
