// A certified OpenID provider on the loopback address, for the tests. Development logins: any name, any password.
//
// PORT (0 or absent: any free port), HOST (the issuer's name for this machine; 127.0.0.1 by default), CLIENT_ID, CLIENT_SECRET (empty: a public client), REDIRECT_URI,
// CLIENT_AUTHENTICATION (client_secret_basic by default with a secret), EXPIRES_IN (seconds), CLIENT (JSON: more of the
// client's metadata, such as its key set), FEATURES (JSON: more features), TLS (JSON: `pem`, a file with the certificate
// and key of localhost, `authority`, a file with that of its issuer, which may have issued client certificates, too, and
// `aliases`, whether there are addresses of their own for requests with such a certificate).

import { generateKeyPairSync, randomBytes } from "node:crypto";
import { readFileSync } from "node:fs";
import { createServer } from "node:http";
import { createServer as createTlsServer } from "node:https";

// Notices of the library would end up between the lines that a test reads.
console.info = console.log = console.error;

const { default: Provider } = await import("oidc-provider");

const env = process.env;
const secret = env.CLIENT_SECRET || undefined;
const { privateKey } = generateKeyPairSync("rsa", { modulusLength: 2048 });
const { privateKey: curveKey } = generateKeyPairSync("ec", { namedCurve: "P-256" });

const configuration = {
	clients: [
		{
			client_id: env.CLIENT_ID || "client",
			client_secret: secret,
			token_endpoint_auth_method: env.CLIENT_AUTHENTICATION || (secret ? "client_secret_basic" : "none"),
			redirect_uris: [env.REDIRECT_URI || "http://127.0.0.1/callback"],
			grant_types: ["authorization_code", "refresh_token"],
			response_types: ["code"],
			...JSON.parse(env.CLIENT || "{}"),
		},
	],
	scopes: ["openid", "profile", "email", "offline_access"],
	claims: { openid: ["sub"], profile: ["name"], email: ["email", "email_verified"] },
	features: {
		devInteractions: { enabled: true },
		introspection: { enabled: true },
		revocation: { enabled: true },
		...JSON.parse(env.FEATURES || "{}"),
	},
	clientAuthMethods: [
		"client_secret_basic",
		"client_secret_post",
		"client_secret_jwt",
		"private_key_jwt",
		"none",
	],
	pkce: { required: () => true },
	rotateRefreshToken: true,
	issueRefreshToken: (ctx, client, source) => source.scopes.has("offline_access"),
	ttl: {
		AccessToken: Number(env.EXPIRES_IN || 3600),
		AuthorizationCode: 60,
		Grant: 86400,
		IdToken: 3600,
		Interaction: 600,
		RefreshToken: 86400,
		Session: 86400,
	},
	jwks: {
		keys: [
			{ ...privateKey.export({ format: "jwk" }), use: "sig", alg: "RS256", kid: "test" },
			{ ...curveKey.export({ format: "jwk" }), use: "sig", alg: "ES256", kid: "curve" },
		],
	},
	cookies: { keys: [randomBytes(32).toString("hex")] },
	// The library refuses internal addresses, and that of a key set is on loopback here.
	fetch: (url, { dispatcher, ...options }) => fetch(url, options),
	findAccount: (ctx, id) => ({
		accountId: id,
		claims: () => ({ sub: id, name: id, email: `${id}@example.com`, email_verified: true }),
	}),
};

// Functions cannot be said in JSON: each API has access tokens of its own, as JWTs.
if (configuration.features.resourceIndicators) {
	configuration.features.resourceIndicators.getResourceServerInfo = (ctx, resource) => ({
		scope: "read",
		audience: resource,
		accessTokenFormat: "jwt",
		jwt: { sign: { alg: "RS256" } },
	});
	configuration.features.resourceIndicators.useGrantedResource = () => true;
}

if (configuration.features.dPoP) {
	const { requireNonce } = configuration.features.dPoP;
	configuration.features.dPoP.requireNonce = () => Boolean(requireNonce);
	configuration.features.dPoP.nonceSecret = randomBytes(32);
}

const { mTLS } = configuration.features;
if (mTLS) {
	mTLS.getCertificate = (ctx) => ctx.socket.getPeerX509Certificate?.();
	mTLS.certificateAuthorized = (ctx) => ctx.socket.authorized;
	mTLS.certificateSubjectMatches = (ctx, property, expected) =>
		property === "tls_client_auth_san_dns" &&
		ctx.socket.getPeerX509Certificate().subjectAltName === `DNS:${expected}`;
	configuration.clientAuthMethods.push("tls_client_auth", "self_signed_tls_client_auth");
}

const tls = env.TLS && JSON.parse(env.TLS);

function listening(asksForCertificate, port) {
	const [key, ca] = tls ? [readFileSync(tls.pem), readFileSync(tls.authority)] : [];
	const server = tls
		? createTlsServer({ key, cert: key, ca, requestCert: asksForCertificate, rejectUnauthorized: false })
		: createServer();
	return new Promise((resolve) => server.listen(port, "127.0.0.1", () => resolve(server)));
}

// The issuer contains the port, so the port is taken before the provider is made.
const server = await listening(Boolean(tls) && !tls.aliases, Number(env.PORT || 0));
const servers = [server];
const { port } = server.address();
const issuer = tls ? `https://localhost:${port}` : `http://${env.HOST || "127.0.0.1"}:${port}`;
if (tls?.aliases) {
	const alias = await listening(true, 0);
	servers.push(alias);
	const at = (path) => `https://localhost:${alias.address().port}${path}`;
	configuration.discovery = {
		mtls_endpoint_aliases: {
			token_endpoint: at("/token"),
			pushed_authorization_request_endpoint: at("/request"),
			revocation_endpoint: at("/token/revocation"),
			userinfo_endpoint: at("/me"),
		},
	};
}
const provider = new Provider(issuer, configuration).callback();
for (const each of servers) each.on("request", provider);
process.stdout.write(JSON.stringify({ issuer, port, pid: process.pid }) + "\n");
