#!/usr/bin/env bash
# The work of a token bastion in a shell loop, with the tools that sites have: for each account a
# ticket; for each of its schedds a vault token of its own, the access token that opens the credd
# there, the push, and questions until the credmon has served it.
#
# The environment names ACCOUNTS, SCHEDDS, KEYTABS (a folder) and WORK (a folder for its files).
# $WORK/tool gets user and system seconds of each run of HTCondor's own tool.

set -euo pipefail

export _CONDOR_SEC_CLIENT_AUTHENTICATION_METHODS=SCITOKENS
TIMEFORMAT='%3U %3S'

store_cred() { { time condor_store_cred "$@" 2>>"$WORK/errors"; } 2>>"$WORK/tool"; }

served() {
    local answer top
    answer=$(store_cred query-oauth)
    [[ $answer =~ cms\.top\ =\ ([0-9]+) ]] || return 1
    top=${BASH_REMATCH[1]}
    [[ $answer =~ cms\.use\ =\ ([0-9]+) ]] && ((BASH_REMATCH[1] >= top))
}

for account in $ACCOUNTS; do
    export KRB5CCNAME=FILE:$WORK/$account.ccache
    kinit -k -t "$KEYTABS/$account.keytab" "$account@TEST"
    for schedd in $SCHEDDS; do
        vault=$WORK/$account.$schedd.vault
        export _CONDOR_SCITOKENS_FILE=$WORK/$account.$schedd.bearer
        htgettoken --quiet --nooidc --vaultserver vault.test --issuer cms --credkey "$account" \
            --vaulttokenttl 7d --vaulttokenfile "$vault" --outfile "$_CONDOR_SCITOKENS_FILE"
        export _CONDOR_CREDD_HOST=$schedd
        url=https://vault.test:8200/v1/secret/oauth/creds/cms/$account:default
        store_cred add-oauth -s cms -i - >/dev/null \
            <<<"{\"vault_token\": \"$(<"$vault")\", \"vault_url\": \"$url\"}"
        until served; do sleep 0.5; done
    done
done
