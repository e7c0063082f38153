# rego = "policy.rego"
#
# Asked is data.mytls.allow; rego-query says another rule. The input has lists of text, which are empty where there is
# nothing: cn, ou, o, dns, uri, email, ip, issuer, serial, spki, spiffe, address, server_name, alpn, version, ja4.

package mytls

import rego.v1

default allow := false

friends := {"build": "ci", "alice": "ops"}

# Who is known, of the right unit, and speaks TLS 1.3.
allow if {
	some name in input.cn
	friends[name] in input.ou
	"TLSv1.3" in input.version
}
