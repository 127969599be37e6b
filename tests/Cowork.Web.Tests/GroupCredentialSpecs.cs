using System.Net;
using System.Net.WebSockets;
using System.Text.Json;

using Cowork.Testing;

namespace Cowork.Web.Tests;

/// <summary>A routing token is worth no more than the API token that asked for it.</summary>
public sealed class GroupCredentialSpecs(TokenHost tokens) : IClassFixture<TokenHost>
{
    static readonly TimeSpan Lifetime = TimeSpan.FromSeconds(4);

    readonly LiveHost host = tokens.Host;

    [Theory]
    [InlineData("auditor")]
    [InlineData("approver")]
    public async Task Whose_token_may_say_nothing_gets_no_routing_token(string role)
    {
        using var ann = host.Client(await host.Token($"saying-{role}", "member"));
        using var reader = host.Client(await host.Token($"saying-{role}", role));
        var group = (await ann.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"];
        (await reader.Post($"/groups/{group}/messages", """{"text":"hello"}""")).IsProblem(403, "role_missing");
        (await reader.Post($"/groups/{group}/token", "{}")).IsProblem(403, "role_missing");
        (await reader.Post("/infra/routing-token", $$"""{"group_id":"{{group}}","user_id":"ann"}""")).IsProblem(403, "role_missing");
    }

    [Theory]
    [InlineData("revoked", HttpStatusCode.Unauthorized)]
    [InlineData("another secret", HttpStatusCode.Unauthorized)]
    [InlineData("expired", HttpStatusCode.Unauthorized)]
    [InlineData("another role", HttpStatusCode.Forbidden)]
    public async Task What_a_token_opened_ends_with_it_and_nothing_more_is_opened(string end, HttpStatusCode refusal)
    {
        var org = $"ending-{end.Replace(' ', '-')}";
        using var admin = host.Client(host.AdminToken);
        using var owner = host.Client(await host.Token(org, "admin"));
        var opened = await Patience.Before(Lifetime, async at =>
        {
            DateTimeOffset? expires = end == "expired" ? at : null;
            var issued = (await admin.Post(
                "/tokens", JsonSerializer.Serialize(new { name = "spec", user = "ann", roles = (string[])["member"], org_id = org, expires_at = expires }))).Is(201);
            using var ann = host.Client(issued["token"]);
            var group = (await ann.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"];
            var token = (await ann.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"];
            var client = await GroupClient.Open(host.Url, group, token);
            await client.Say("hello", "m1");
            await client.Until("user_message_stored");
            return (TokenId: issued["token_id"], Group: group, Routing: token, Client: client);
        });
        await using var talking = opened.Client;
        var path = $"/tokens/{opened.TokenId}";
        _ = end switch
        {
            "revoked" => (await owner.Delete(path)).Is(204),
            "another secret" => (await owner.Post($"{path}/rotate", """{"overlap_seconds":0}""")).Is(200),
            "another role" => (await owner.Send(HttpMethod.Patch, path, """{"roles":["auditor"]}""")).Is(200),
            _ => null,
        };
        Assert.Equal(4401, await talking.UntilClosed());
        using var late = new ClientWebSocket();
        late.Options.CollectHttpResponseDetails = true;
        await Assert.ThrowsAsync<WebSocketException>(() => late.ConnectAsync(GroupClient.Address(host.Url, opened.Group, opened.Routing), CancellationToken.None));
        Assert.Equal(refusal, late.HttpStatusCode);
    }

    [Fact]
    public async Task A_secret_that_goes_on_for_a_while_keeps_what_it_opened_until_then()
    {
        using var owner = host.Client(await host.Token("overlapping", "admin"));
        using var admin = host.Client(host.AdminToken);
        var issued = (await admin.Post("/tokens", """{"name":"spec","user":"ann","roles":["member"],"org_id":"overlapping"}""")).Is(201);
        using var ann = host.Client(issued["token"]);
        var group = (await ann.Post("/groups", """{"title":"talk"}""")).Is(201)["group_id"];
        (await owner.Post($"/tokens/{issued["token_id"]}/rotate", """{"overlap_seconds":3600}""")).Is(200);
        var token = (await ann.Post($"/groups/{group}/token", "{}")).Is(200)["routing_token"];
        await using var client = await GroupClient.Open(host.Url, group, token);
        await client.Say("hello", "m1");
        await client.Until("user_message_stored");
        (await owner.Post($"/tokens/{issued["token_id"]}/rotate", """{"overlap_seconds":0}""")).Is(200);
        Assert.Equal(4401, await client.UntilClosed());
    }
}
