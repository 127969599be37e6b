using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>What a routing token must be to open its group, each refusal from a token that is accepted.</summary>
public sealed class RoutingTokenSpecs
{
    static readonly GroupKey Group = new("01kdvkjr000000000000000031");
    static readonly GroupKey Other = new("01kdvkjr000000000000000032");

    readonly TestClock clock = new();
    readonly SigningKeyring keyring;
    readonly RoutingTokens tokens;

    public RoutingTokenSpecs()
    {
        var engine = new InMemoryEngine(ReadModels.Tables, clock);
        var handler = new CommandHandler(engine.AddNode(Ids.NewKey(clock.GetUtcNow()), new CommitObservers(() => []), TimeSpan.FromSeconds(10), []), engine, new InMemoryBlobs(), ReadModels.All, clock, CronTimes.Next);
        var operators = new OperatorsTenant("default");
        var masters = new MasterKeyring([MasterKey.New()], "the spec");
        keyring = new(handler, handler, masters, new(handler, handler, masters, operators, clock), operators, clock);
        tokens = new(keyring, clock);
    }

    [Fact]
    public async Task A_token_opens_its_group_for_five_minutes()
    {
        var grant = new RoutingGrant("acme", Group, "ann", "member", [new("app:desk@acme"), new("user:op@default", Operator: true)]);
        var (token, expires) = await tokens.Issue(grant, default);
        Assert.Equal(TimeSpan.FromMinutes(5), expires - DateTimeOffset.FromUnixTimeSeconds(clock.GetUtcNow().ToUnixTimeSeconds()));
        var (opened, until, refused) = await tokens.Verify(token, Group, default);
        Assert.Equal((expires, null), (until, refused));
        Assert.Equal(grant with { Issuers = null }, opened! with { Issuers = null });
        Assert.Equal(grant.Issuers, opened.Issuers);
        Assert.Null((await tokens.Verify((await tokens.Issue(grant with { Issuers = null }, default)).Token, Group, default)).Grant!.Issuers);
        clock.Advance(TimeSpan.FromMinutes(5) + Limits.TokenClockSkew);
        Assert.Equal("token_expired", (await tokens.Verify(token, Group, default)).Refused!.Code);
    }

    [Theory]
    [InlineData("nothing", 0, null)]
    [InlineData("iss", 401, "foreign_audience", "\"evil\"")]
    [InlineData("aud", 401, "foreign_audience", "\"agents\"")]
    [InlineData("aud", 401, "foreign_audience", """["groups","agents"]""")]
    [InlineData("aud", 401, "foreign_audience", "[]")]
    [InlineData("aud", 401, "foreign_audience", "null")]
    [InlineData("aud", 0, null, """["groups"]""")]
    [InlineData("group_id", 403, "foreign_group", "\"grp_01kdvkjr000000000000000032\"")]
    [InlineData("group_id", 401, "token_invalid", "\"grp_x\"")]
    [InlineData("sub", 401, "token_invalid", "\"\"")]
    [InlineData("sub", 401, "token_invalid", "7")]
    [InlineData("org", 401, "token_invalid", "null")]
    [InlineData("role", 401, "token_invalid", "null")]
    [InlineData("exp", 401, "token_invalid", "\"soon\"")]
    [InlineData("exp", 401, "token_invalid", "1e300")]
    [InlineData("iat", 401, "token_invalid", "null")]
    [InlineData("nbf", 401, "token_invalid", "\"now\"")]
    public async Task Every_claim_counts(string claim, int status, string? code, string? value = null)
    {
        var claims = JsonNode.Parse(Jws.Read((await tokens.Issue(new("acme", Group, "ann", "member"), default)).Token, RoutingTokens.Typ)!.Payload.GetRawText())!.AsObject();
        if (value is not null)
        {
            claims[claim] = JsonNode.Parse(value);
        }
        var (grant, _, refused) = await Verify(claims);
        Assert.Equal((status == 0, status, code), (grant is not null, refused?.Status ?? 0, refused?.Code));
    }

    [Theory]
    //          iat    exp   nbf
    [InlineData(0, 300, null, null)]
    [InlineData(4, 300, null, null)]
    [InlineData(10, 300, null, "token_not_yet_valid")]
    [InlineData(0, 301, null, "token_invalid")]
    [InlineData(0, 0, null, "token_invalid")]
    [InlineData(0, -1, null, "token_invalid")]
    [InlineData(-300, 0, null, null)]               // within the clocks' tolerance
    [InlineData(-300, -6, null, "token_expired")]
    [InlineData(0, 300, 4, null)]
    [InlineData(0, 300, 10, "token_not_yet_valid")]
    public async Task Times_are_compared_with_a_small_tolerance(int issued, int expires, int? notBefore, string? code)
    {
        var now = clock.GetUtcNow().ToUnixTimeSeconds();
        var claims = JsonNode.Parse(Jws.Read((await tokens.Issue(new("acme", Group, "ann", "member"), default)).Token, RoutingTokens.Typ)!.Payload.GetRawText())!.AsObject();
        (claims["iat"], claims["exp"]) = (now + issued, now + expires);
        if (notBefore is { } seconds)
        {
            claims["nbf"] = now + seconds;
        }
        Assert.Equal(code, (await Verify(claims)).Refused?.Code);
    }

    [Fact]
    public async Task What_is_no_routing_token_of_this_service_opens_nothing()
    {
        var (token, _) = await tokens.Issue(new("acme", Group, "ann", "member"), default);
        Assert.Equal("foreign_group", (await tokens.Verify(token, Other, default)).Refused!.Code);
        var payload = Jws.Read(token, RoutingTokens.Typ)!.Payload.GetRawText();
        using var mine = System.Security.Cryptography.ECDsa.Create(System.Security.Cryptography.ECCurve.NamedCurves.nistP256);
        foreach (var other in (string?[])
        [
            null, "", "x", token[..^8], Jws.Sign(mine, Jws.Read(token, RoutingTokens.Typ)!.Kid, RoutingTokens.Typ, payload), Jws.Sign(mine, "mine", RoutingTokens.Typ, payload),
            await keyring.Sign(SigningKeys.Heads, RoutingTokens.Typ, payload, default), await keyring.Sign(SigningKeys.Orchestrator, "JWT", payload, default),
        ])
        {
            var verifying = tokens.Verify(other, Group, default).AsTask();
            while (!verifying.IsCompleted)
            {
                // A key that nobody knows waits for the next look into the log.
                clock.Advance(clock.Waiting > 0 ? TimeSpan.FromMilliseconds(300) : TimeSpan.Zero);
                await Task.Yield();
            }
            Assert.Equal(("token_invalid", 401), ((await verifying).Refused!.Code, (await verifying).Refused!.Status));
        }
    }

    async Task<(RoutingGrant? Grant, DateTimeOffset ExpiresAt, Refusal? Refused)> Verify(JsonObject claims) =>
        await tokens.Verify(await keyring.Sign(SigningKeys.Orchestrator, RoutingTokens.Typ, claims.ToJsonString(JsonSerializerOptions.Web), default), Group, default);
}
