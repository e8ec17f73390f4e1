// SPDX-License-Identifier: MPL-2.0
// An OpenID provider on this machine: whoever is named by `login_hint` is let in, with the claims that stand in the file.
import { readFileSync } from "node:fs";
import Provider from "oidc-provider";

const [port, redirect, people] = process.argv.slice(2);
const known = () => JSON.parse(readFileSync(people, "utf8"));
const provider = new Provider(`http://127.0.0.1:${port}`, {
  clients: [
    {
      client_id: "sygefravaer",
      client_secret: "a-secret-of-the-test",
      redirect_uris: [redirect],
      response_types: ["code"],
      grant_types: ["authorization_code"],
    },
  ],
  claims: { openid: ["sub", "name", "cvr", "roles", "person"] },
  conformIdTokenClaims: false,
  pkce: { required: () => true },
  features: { devInteractions: { enabled: false } },
  cookies: { keys: ["for a test"] },
  interactions: { url: (_, interaction) => `/let-in/${interaction.uid}` },
  findAccount: (_, id) => ({ accountId: id, claims: () => ({ sub: id, ...known()[id] }) }),
  async loadExistingGrant(ctx) {
    const grant = new ctx.oidc.provider.Grant({
      clientId: ctx.oidc.client.clientId,
      accountId: ctx.oidc.session.accountId,
    });
    grant.addOIDCScope("openid");
    await grant.save();
    return grant;
  },
});
provider.use(async (ctx, next) => {
  if (!ctx.path.startsWith("/let-in/")) return next();
  const { params } = await provider.interactionDetails(ctx.req, ctx.res);
  const result = known()[params.login_hint]
    ? { login: { accountId: params.login_hint } }
    : { error: "access_denied", error_description: "nobody" };
  ctx.respond = false;
  await provider.interactionFinished(ctx.req, ctx.res, result, { mergeWithLastSubmission: false });
});
provider.listen(Number(port), "127.0.0.1", () => console.log("READY"));
