using System.Text.Json;

using Cowork.Application;
using Cowork.Domain;

using Microsoft.Extensions.DependencyInjection;

namespace Cowork.Web.Tests;

/// <summary>Groups of a tenant, and connections to them.</summary>
static class Groups
{
    const int GroupsOfOrg = 20;

    static int _groups;

    /// <summary>A new group. In local mode one may count for any organisation, each of which has a few active ones.</summary>
    public static async Task<string> New(HttpClient http) =>
        (await http.Post("/groups", $$"""{"title":"talk","org_id":"org-{{Interlocked.Increment(ref _groups) / GroupsOfOrg}}"}""")).Is(201)["group_id"];

    public static Task Member(TestTenant tenant, string group, string user) => Member(tenant.Host, tenant.Org, group, user);

    public static Task Member(LiveHost host, string org, string group, string user) =>
        Do(host, org, group, now => new GroupCommand.AddMember(user, GroupRole.Member, "local", ByAdmin: true, now));

    public static Task NoMember(TestTenant tenant, string group, string user) => NoMember(tenant.Host, tenant.Org, group, user);

    public static Task NoMember(LiveHost host, string org, string group, string user) =>
        Do(host, org, group, now => new GroupCommand.RemoveMember(user, "local", ByAdmin: true, now));

    static async Task Do(LiveHost host, string org, string group, Func<DateTimeOffset, GroupCommand> command) => Assert.Null(
        await host.Services.GetRequiredService<CommandHandler>().Commit(
            org, new("user:local"),
            async work => await work.Do(Group.Aggregate, GroupKey.FromId(group), command(work.Now), GroupKey.FromId(group).Session), CancellationToken.None));

    public static async Task<GroupClient> Open(TestTenant tenant, string group, long? since = null, string user = "local") =>
        await GroupClient.Open(tenant.Host.Url, group, await Token(tenant, group, user), since);

    public static Task<string> Token(TestTenant tenant, string group, string user = "local", int seconds = 300) => Token(tenant.Host, tenant.Org, group, user, seconds);

    /// <param name="seconds">Until it expires; negative: it has expired.</param>
    public static async Task<string> Token(LiveHost host, string org, string group, string user = "local", int seconds = 300)
    {
        var until = TimeProvider.System.GetUtcNow().ToUnixTimeSeconds() + seconds;
        var claims = new { iss = RoutingTokens.Issuer, aud = RoutingTokens.Audience, sub = user, group_id = group, org, role = "member", iat = until - 300, exp = until };
        return await host.Services.GetRequiredService<SigningKeyring>().Sign(
            SigningKeys.Orchestrator, RoutingTokens.Typ, JsonSerializer.Serialize(claims), CancellationToken.None);
    }
}
