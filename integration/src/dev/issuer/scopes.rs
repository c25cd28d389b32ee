//! Which scopes a request may have, by the WLCG profile. Pure.
//!
//! What always holds: nobody is given a scope that is not covered by one granted.

/// Whether `granted` covers `wanted`: they are equal, or both are the same storage action and the
/// wanted path lies below the granted one.
fn covers(granted: &str, wanted: &str) -> bool {
    if granted == wanted {
        return true;
    }
    let (Some((granted_action, granted_path)), Some((wanted_action, wanted_path))) =
        (granted.split_once(':'), wanted.split_once(':'))
    else {
        return false;
    };
    let dotted = wanted_path
        .split('/')
        .any(|part| part == "." || part == "..");
    let below = |rest: &str| rest.starts_with('/') || granted_path.ends_with('/');
    granted_action == wanted_action
        && granted_action.starts_with("storage.")
        && !dotted
        && wanted_path.strip_prefix(granted_path).is_some_and(below)
}

/// The scopes to give: all that are granted when none is wanted, else those wanted. The error is
/// the first one that is not granted.
pub fn narrow<'a>(granted: &[&'a str], wanted: &[&'a str]) -> Result<Vec<&'a str>, &'a str> {
    if wanted.is_empty() {
        return Ok(granted.to_vec());
    }
    let refused = wanted
        .iter()
        .find(|wanted| !granted.iter().any(|granted| covers(granted, wanted)));
    match refused {
        Some(refused) => Err(refused),
        None => Ok(wanted.to_vec()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_narrows_only() {
        let granted = [
            "condor:/WRITE",
            "storage.read:/",
            "storage.create:/store/temp",
        ];
        for (wanted, given) in [
            (vec![], true),
            (vec!["condor:/WRITE"], true),
            (vec!["storage.read:/store/user"], true),
            (vec!["storage.create:/store/temp/user"], true),
            (vec!["storage.create:/store/temporary"], false),
            (vec!["storage.create:/store/temp/../x"], false),
            (vec!["storage.create:/store"], false),
            (vec!["storage.modify:/"], false),
            (vec!["condor:/WRITE", "condor:/READ"], false),
        ] {
            assert_eq!(narrow(&granted, &wanted).is_ok(), given, "{wanted:?}");
        }
        assert_eq!(narrow(&granted, &[]).unwrap(), granted);
    }
}
