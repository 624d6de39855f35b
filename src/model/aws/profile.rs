//! The files of the AWS tools: profiles with keys and settings.

use std::collections::BTreeMap;
use std::path::PathBuf;

use crate::model::endpoint::Aws;

/// What a profile says, from both files; the credentials' file wins.
pub(super) async fn read(settings: &Aws) -> BTreeMap<String, String> {
    let name = name(settings);
    let mut values = BTreeMap::new();
    let config = file(settings, "AWS_CONFIG_FILE", "config").await;
    values.extend(section(&config, |title| title == format!("profile {name}") || (name == "default" && title == "default")));
    let credentials = file(settings, "AWS_SHARED_CREDENTIALS_FILE", "credentials").await;
    values.extend(section(&credentials, |title| title == name));
    values
}

/// The profile's name.
pub(super) fn name(settings: &Aws) -> &str {
    settings.variable("AWS_PROFILE").unwrap_or("default")
}

async fn file(settings: &Aws, variable: &str, name: &str) -> String {
    let usual = || settings.variable("HOME").map(|home| PathBuf::from(home).join(".aws").join(name));
    let Some(path) = settings.variable(variable).map(PathBuf::from).or_else(usual) else { return String::new() };
    // What cannot be read says nothing; whoever needs it says that it is missing.
    tokio::fs::read_to_string(path).await.unwrap_or_default()
}

fn section(text: &str, wanted: impl Fn(&str) -> bool) -> BTreeMap<String, String> {
    let (mut values, mut inside) = (BTreeMap::new(), false);
    for line in text.lines() {
        // Settings below a setting are indented; none of them matters here.
        if line.starts_with([' ', '\t', '#', ';']) {
            continue;
        }
        let line = line.split(" #").next().unwrap_or(line).trim();
        if let Some(title) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
            let title: Vec<&str> = title.split_whitespace().map(|word| word.trim_matches('"')).collect();
            inside = wanted(&title.join(" "));
        } else if let Some((key, value)) = line.split_once('=').filter(|_| inside) {
            values.insert(key.trim().to_ascii_lowercase(), value.trim().to_owned());
        }
    }
    values
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_section_is_read_and_nothing_of_the_others() {
        let text = "# x\n[default]\nregion = a\n\n[profile  \"two\"] # mine\nRegion=b\ns3 =\n  addressing_style = path\nrole_arn = arn:aws:iam::1:role/x #y\n[three]\nregion=c\n";
        let values = section(text, |title| title == "profile two");
        let wanted = [("region", "b"), ("role_arn", "arn:aws:iam::1:role/x"), ("s3", "")];
        assert_eq!(values, wanted.map(|(key, value)| (key.to_owned(), value.to_owned())).into());
        assert_eq!(section(text, |title| title == "default")["region"], "a");
        assert!(section("region = a\n[x", |_| true).is_empty());
    }
}
