//! The variables of Azure's own tools, which `object_store` does not read: `AZURE_STORAGE_ACCOUNT`,
//! `AZURE_STORAGE_KEY`, `AZURE_STORAGE_CONNECTION_STRING`.

use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};

/// Adds them to `builder`; `variable` reads one. The error says what is wrong, without what may be a secret.
pub fn add(
    mut builder: MicrosoftAzureBuilder,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<MicrosoftAzureBuilder, String> {
    for (theirs, key) in [
        ("AZURE_STORAGE_ACCOUNT", AzureConfigKey::AccountName),
        ("AZURE_STORAGE_KEY", AzureConfigKey::AccessKey),
    ] {
        if let (None, Some(value)) = (builder.get_config_value(&key), variable(theirs)) {
            builder = builder.with_config(key, value);
        }
    }
    // It says all there is to say, so that it counts before the others.
    if let Some(text) = variable("AZURE_STORAGE_CONNECTION_STRING") {
        builder = with_connection_string(builder, &text)?;
    }
    let is_set = |key: AzureConfigKey| {
        let value = builder.get_config_value(&key);
        value.is_some_and(|value| !value.is_empty() && value != "false")
    };
    if !is_set(AzureConfigKey::AccountName) && !is_set(AzureConfigKey::UseEmulator) {
        return Err(
            "the account is not named: set AZURE_STORAGE_ACCOUNT_NAME or \
                    AZURE_STORAGE_CONNECTION_STRING"
                .into(),
        );
    }
    Ok(builder)
}

/// `DefaultEndpointsProtocol=https;AccountName=talks;AccountKey=…`, as the portal and Azurite show it.
fn with_connection_string(
    mut builder: MicrosoftAzureBuilder,
    text: &str,
) -> Result<MicrosoftAzureBuilder, String> {
    let pairs = text.split(';').filter_map(|pair| pair.split_once('='));
    let value = |name: &str| {
        let mut named = pairs.clone().filter(|(key, value)| {
            key.trim().eq_ignore_ascii_case(name) && !value.trim().is_empty()
        });
        named.next().map(|(_, value)| value.trim())
    };
    if value("UseDevelopmentStorage").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return Ok(builder.with_use_emulator(true));
    }
    let endpoint = value("BlobEndpoint").map(|url| url.trim_end_matches('/').to_owned());
    let account = value("AccountName").or_else(|| {
        // A signature that is shared comes with an endpoint, and the account is the first part of its host.
        let (_, host) = endpoint.as_deref()?.split_once("://")?;
        host.split(['.', ':', '/']).next()
    });
    let Some(account) = account else {
        return Err(
            "AZURE_STORAGE_CONNECTION_STRING has neither AccountName nor BlobEndpoint".into(),
        );
    };
    let endpoint = endpoint.clone().unwrap_or_else(|| {
        let protocol = value("DefaultEndpointsProtocol").unwrap_or("https");
        let suffix = value("EndpointSuffix").unwrap_or("core.windows.net");
        format!("{protocol}://{account}.blob.{suffix}")
    });
    builder = builder.with_account(account).with_endpoint(endpoint);
    for (name, key) in [
        ("AccountKey", AzureConfigKey::AccessKey),
        ("SharedAccessSignature", AzureConfigKey::SasKey),
    ] {
        if let Some(value) = value(name) {
            builder = builder.with_config(key, value);
        }
    }
    Ok(builder)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Account, key, signature, endpoint.
    type Told = [Option<String>; 4];

    fn told(variables: &[(&str, &str)]) -> Result<Told, String> {
        let variable = |name: &str| {
            let found = variables.iter().find(|(other, _)| *other == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let builder = add(MicrosoftAzureBuilder::new(), variable)?;
        Ok([
            AzureConfigKey::AccountName,
            AzureConfigKey::AccessKey,
            AzureConfigKey::SasKey,
            AzureConfigKey::Endpoint,
        ]
        .map(|key| builder.get_config_value(&key)))
    }

    fn some<const N: usize>(values: [&str; N]) -> [Option<String>; N] {
        values.map(|value| (!value.is_empty()).then(|| value.to_owned()))
    }

    #[test]
    fn account_and_key_have_the_names_of_azures_tools() {
        let told = told(&[
            ("AZURE_STORAGE_ACCOUNT", "talks"),
            ("AZURE_STORAGE_KEY", "a2V5"),
        ]);
        assert_eq!(told.unwrap(), some(["talks", "a2V5", "", ""]));
    }

    #[test]
    fn connection_strings_are_read() {
        let string = |text| told(&[("AZURE_STORAGE_CONNECTION_STRING", text)]);
        for (text, expected) in [
            (
                "DefaultEndpointsProtocol=https;AccountName=talks;AccountKey=a2V5PT0=;EndpointSuffix=core.chinacloudapi.cn",
                [
                    "talks",
                    "a2V5PT0=",
                    "",
                    "https://talks.blob.core.chinacloudapi.cn",
                ],
            ),
            (
                "accountname=a;AccountKey=a2V5;BlobEndpoint=http://127.0.0.1:10000/a/;",
                ["a", "a2V5", "", "http://127.0.0.1:10000/a"],
            ),
            (
                "BlobEndpoint=https://talks.blob.core.windows.net;SharedAccessSignature=sv=2024&sig=a%3D",
                [
                    "talks",
                    "",
                    "sv=2024&sig=a%3D",
                    "https://talks.blob.core.windows.net",
                ],
            ),
            (
                "AccountName=talks",
                ["talks", "", "", "https://talks.blob.core.windows.net"],
            ),
        ] {
            assert_eq!(string(text).unwrap(), some(expected), "{text}");
        }
        for text in [
            "AccountKey=secret",
            "secret",
            ";;=;",
            "AccountName=;AccountKey=secret",
        ] {
            let error = string(text).unwrap_err();
            assert!(
                error.contains("CONNECTION_STRING") && !error.contains("secret"),
                "{error}"
            );
        }
        assert!(string("UseDevelopmentStorage=true").is_ok());
        assert!(told(&[]).unwrap_err().contains("the account is not named"));
    }
}
