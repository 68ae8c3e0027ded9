// A server of the Model Context Protocol with an authorization server of its own, both of npm's @modelcontextprotocol/sdk, on
// the loopback address, for the tests. Everything is kept in memory, and nobody is asked for consent: every visitor is alice.
//
// PORT (0 or absent: any free port), SECRETS_EXPIRE (seconds until a client's secret expires, 0 for never; absent: what the SDK
// has by default, which is a month).

import { randomUUID } from "node:crypto";
import { createServer } from "node:http";

import { InvalidGrantError, InvalidTokenError } from "@modelcontextprotocol/sdk/server/auth/errors.js";
import { requireBearerAuth } from "@modelcontextprotocol/sdk/server/auth/middleware/bearerAuth.js";
import {
	getOAuthProtectedResourceMetadataUrl,
	mcpAuthRouter,
} from "@modelcontextprotocol/sdk/server/auth/router.js";
import { createMcpExpressApp } from "@modelcontextprotocol/sdk/server/express.js";
import { McpServer } from "@modelcontextprotocol/sdk/server/mcp.js";
import { StreamableHTTPServerTransport } from "@modelcontextprotocol/sdk/server/streamableHttp.js";

const SCOPE = "notes";
const LIFETIME = 3600;
const { PORT, SECRETS_EXPIRE } = process.env;

const clients = new Map();
const codes = new Map();
const access = new Map();
const refresh = new Map();
let refreshes = 0;

function issued(clientId, scopes, resource) {
	const about = { clientId, scopes, resource };
	const [token, renewal] = [randomUUID(), randomUUID()];
	access.set(token, { ...about, token, expiresAt: Math.floor(Date.now() / 1000) + LIFETIME });
	refresh.set(renewal, about);
	return {
		access_token: token,
		token_type: "bearer",
		expires_in: LIFETIME,
		refresh_token: renewal,
		scope: scopes.join(" "),
	};
}

function taken(kept, key, client) {
	const found = kept.get(key);
	kept.delete(key);
	if (found?.clientId !== client.client_id)
		throw new InvalidGrantError("It is not known, or was used already.");
	return found;
}

const provider = {
	clientsStore: {
		getClient: (id) => clients.get(id),
		registerClient: (client) => {
			clients.set(client.client_id, client);
			return client;
		},
	},
	async authorize(client, params, response) {
		const code = randomUUID();
		codes.set(code, { clientId: client.client_id, ...params });
		const back = new URL(params.redirectUri);
		back.searchParams.set("code", code);
		if (params.state) back.searchParams.set("state", params.state);
		response.redirect(back.href);
	},
	async challengeForAuthorizationCode(_client, code) {
		if (!codes.has(code)) throw new InvalidGrantError("It is not known, or was used already.");
		return codes.get(code).codeChallenge;
	},
	async exchangeAuthorizationCode(client, code) {
		const { scopes, resource } = taken(codes, code, client);
		return issued(client.client_id, scopes?.length ? scopes : [SCOPE], resource);
	},
	async exchangeRefreshToken(client, token) {
		const { scopes, resource } = taken(refresh, token, client);
		refreshes += 1;
		return issued(client.client_id, scopes, resource);
	},
	async verifyAccessToken(token) {
		if (!access.has(token)) throw new InvalidTokenError("It is not known.");
		return access.get(token);
	},
	async revokeToken(_client, { token }) {
		access.delete(token);
		refresh.delete(token);
	},
};

// The issuer contains the port, so the port is taken before the application is made.
const server = createServer();
await new Promise((resolve) => server.listen(Number(PORT || 0), "127.0.0.1", resolve));
const issuer = new URL(`http://127.0.0.1:${server.address().port}`);
const resource = new URL("/mcp", issuer);

const app = createMcpExpressApp({ host: "127.0.0.1" });
app.use(
	mcpAuthRouter({
		provider,
		issuerUrl: issuer,
		resourceServerUrl: resource,
		resourceName: "Notes",
		scopesSupported: [SCOPE],
		clientRegistrationOptions: SECRETS_EXPIRE ? { clientSecretExpirySeconds: Number(SECRETS_EXPIRE) } : {},
	})
);
app.get("/_stats", (_request, response) => {
	response.json({
		refreshes,
		clients: Object.fromEntries([...clients].map(([id, client]) => [id, client.token_endpoint_auth_method])),
	});
});
app.post(
	"/mcp",
	requireBearerAuth({
		verifier: provider,
		requiredScopes: [SCOPE],
		resourceMetadataUrl: getOAuthProtectedResourceMetadataUrl(resource),
		expectedResource: resource,
	}),
	async (request, response) => {
		const mcp = new McpServer({ name: "Notes", version: "1.0.0" });
		mcp.registerTool("notes", { description: "The notes of the connected user." }, () => ({
			content: [{ type: "text", text: "Buy milk" }],
		}));
		const transport = new StreamableHTTPServerTransport({
			sessionIdGenerator: undefined,
			enableJsonResponse: true,
		});
		response.on("close", () => mcp.close());
		await mcp.connect(transport);
		await transport.handleRequest(request, response, request.body);
	}
);
server.on("request", app);
process.stdout.write(
	JSON.stringify({ issuer: issuer.href, resource: resource.href, pid: process.pid }) + "\n"
);
