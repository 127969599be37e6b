using System.Buffers.Text;
using System.Collections.Immutable;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>The keys that hosts sign with: made once, rotated, kept under the master key, and what a token must be to be believed.</summary>
public sealed class SigningKeySpecs
{
    const string Typ = "spec+jwt";
    const string Payload = """{"sub":"grp_1","n":1}""";

    readonly TestClock clock = new();
    readonly InMemoryEngine engine;

    public SigningKeySpecs() => engine = new(ReadModels.Tables, clock);

    sealed record Host(SigningKeyring Keyring, KeyRotation Rotation);

    Host NewHost(params ImmutableList<MasterKey> keys)
    {
        var handler = new CommandHandler(engine.AddNode(Ids.NewKey(clock.GetUtcNow()), new CommitObservers(() => []), TimeSpan.FromSeconds(10), []), engine, new InMemoryBlobs(), ReadModels.All, clock, CronTimes.Next);
        var operators = new OperatorsTenant("default");
        var masters = new MasterKeyring(keys, "the spec");
        var secrets = new TenantSecrets(handler, handler, masters, operators, clock);
        var keyring = new SigningKeyring(handler, handler, masters, secrets, operators, clock);
        return new(keyring, new(handler, handler, secrets, keyring, operators, (org, max, ct) => Connections.List(engine, org, max, ct), new(new InMemorySubjects(), () => masters)));
    }

    [Fact]
    public async Task Hosts_that_make_the_first_key_at_once_end_with_one()
    {
        var master = MasterKey.New();
        var hosts = Enumerable.Range(0, 8).Select(_ => NewHost(master)).ToList();
        var kids = await Task.WhenAll(hosts.Select(host => Task.Run(async () => (await host.Keyring.Current(SigningKeys.Orchestrator, default)).Kid)));
        Assert.Single(kids.Distinct());
        var heads = await hosts[0].Keyring.Current(SigningKeys.Heads, default);
        Assert.NotEqual(kids[0], heads.Kid);
        // The other hosts have looked just now, when there was none.
        clock.Advance(TimeSpan.FromMilliseconds(300));
        Assert.Equal([kids[0], heads.Kid], (await hosts[1].Keyring.Published(default)).Select(key => key.Kid));
        Assert.Equal(Jws.Thumbprint(heads.Public), heads.Kid);
    }

    [Fact]
    public async Task Who_asks_for_the_public_keys_makes_none_and_sees_the_first_one_of_another_host_soon()
    {
        var master = MasterKey.New();
        var (asked, other) = (NewHost(master), NewHost(master));
        Assert.Empty(await asked.Keyring.Published(default));
        clock.Advance(TimeSpan.FromMilliseconds(300));
        Assert.Null(await asked.Keyring.Find("nobodys", default));
        // No key, no master key, nothing.
        await foreach (var e in engine.Scan(0, default))
        {
            Assert.Fail($"{e.Type} was written.");
        }
        foreach (var purpose in SigningKeys.Purposes)
        {
            var made = await other.Keyring.Current(purpose, default);
            clock.Advance(TimeSpan.FromMilliseconds(300));
            Assert.Contains(made.Kid, (await asked.Keyring.Published(default)).Select(key => key.Kid));
        }
    }

    [Fact]
    public async Task What_one_host_signs_another_believes_also_right_after_a_rotation()
    {
        var master = MasterKey.New();
        var (one, other) = (NewHost(master), NewHost(master));
        var before = await one.Keyring.Sign(SigningKeys.Orchestrator, Typ, Payload, default);
        Assert.Equal("grp_1", (await other.Keyring.Verify(SigningKeys.Orchestrator, Typ, before, default))!.Payload.GetProperty("sub").GetString());
        var rotated = await one.Keyring.Rotate(SigningKeys.Orchestrator, default);
        var after = await one.Keyring.Sign(SigningKeys.Orchestrator, Typ, Payload, default);
        Assert.Equal(rotated.Kid, Jws.Read(after, Typ)!.Kid);
        // The other host knows nothing of it yet, and looks when a token names a key that it does not know.
        clock.Advance(TimeSpan.FromMilliseconds(300));
        Assert.NotNull(await other.Keyring.Verify(SigningKeys.Orchestrator, Typ, after, default));
        Assert.NotNull(await other.Keyring.Verify(SigningKeys.Orchestrator, Typ, before, default));
        clock.Advance(SigningKeyring.FreshFor);
        Assert.Equal(rotated.Kid, (await other.Keyring.Current(SigningKeys.Orchestrator, default)).Kid);
        // It verifies until what it signed has expired, and no longer.
        clock.Advance(SigningKeyring.VerifiesFor);
        Assert.Null(await other.Keyring.Verify(SigningKeys.Orchestrator, Typ, before, default));
        Assert.NotNull(await other.Keyring.Verify(SigningKeys.Orchestrator, Typ, after, default));
        Assert.DoesNotContain(await other.Keyring.Published(default), key => key.Kid == Jws.Read(before, Typ)!.Kid);
    }

    [Fact]
    public async Task A_replaced_key_of_the_heads_verifies_for_ever()
    {
        var host = NewHost(MasterKey.New());
        var head = await host.Keyring.Sign(SigningKeys.Heads, Typ, Payload, default);
        await host.Keyring.Rotate(SigningKeys.Heads, default);
        clock.Advance(TimeSpan.FromDays(10_000));
        Assert.NotNull(await host.Keyring.Verify(SigningKeys.Heads, Typ, head, default));
        Assert.Equal(2, (await host.Keyring.Published(default)).Count(key => key.Purpose == SigningKeys.Heads));
    }

    [Fact]
    public async Task A_token_of_one_purpose_or_kind_is_none_of_another()
    {
        var host = NewHost(MasterKey.New());
        var token = await host.Keyring.Sign(SigningKeys.Orchestrator, Typ, Payload, default);
        Assert.NotNull(await host.Keyring.Verify(SigningKeys.Orchestrator, Typ, token, default));
        Assert.Null(await host.Keyring.Verify(SigningKeys.Heads, Typ, token, default));
        Assert.Null(await host.Keyring.Verify(SigningKeys.Orchestrator, "other+jwt", token, default));
    }

    [Fact]
    public async Task Signing_keys_go_under_a_new_master_key_and_the_log_has_no_private_one()
    {
        var (old, next) = (MasterKey.New(), MasterKey.New());
        var before = NewHost(old);
        var token = await before.Keyring.Sign(SigningKeys.Orchestrator, Typ, Payload, default);
        var both = NewHost(next, old);
        await both.Keyring.Rotate(SigningKeys.Orchestrator, default);
        Assert.Equal(2, (await both.Rotation.Rewrap(next, default)).SigningKeys);
        Assert.Equal(0, (await both.Rotation.Rewrap(next, default)).SigningKeys);
        var after = NewHost(next);
        Assert.NotNull(await after.Keyring.Verify(SigningKeys.Orchestrator, Typ, token, default));
        Assert.NotNull(await both.Keyring.Verify(SigningKeys.Orchestrator, Typ, await after.Keyring.Sign(SigningKeys.Orchestrator, Typ, Payload, default), default));
        await Assert.ThrowsAsync<SecretUnreadableException>(async () => await NewHost(MasterKey.New()).Keyring.Sign(SigningKeys.Orchestrator, Typ, Payload, default));
        await foreach (var e in engine.Scan(0, default))
        {
            // A PKCS#8 key of P-256 begins with these bytes.
            Assert.DoesNotContain("MIGHAgEAMBMG", Encoding.UTF8.GetString(e.Data.Span), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Names_of_keys_that_nobody_made_do_not_make_a_host_ask_its_database_each_time()
    {
        var master = MasterKey.New();
        var (host, other) = (NewHost(master), NewHost(master));
        var known = await host.Keyring.Current(SigningKeys.Orchestrator, default);
        clock.Advance(TimeSpan.FromSeconds(1));
        Assert.Null(await host.Keyring.Find("nobodys", default));
        // It has just looked: all that are unknown now wait for the next look, and one that was made meanwhile is among them.
        var made = await other.Keyring.Rotate(SigningKeys.Orchestrator, default);
        var waiting = Enumerable.Range(0, 1_000).Select(i => host.Keyring.Find($"nobodys-{i}", default).AsTask()).Append(host.Keyring.Find(made.Kid, default).AsTask()).ToList();
        while (clock.Waiting == 0)
        {
            await Task.Yield();
        }
        Assert.Equal(1, clock.Waiting);
        Assert.DoesNotContain(waiting, one => one.IsCompleted);
        clock.Advance(TimeSpan.FromMilliseconds(300));
        Assert.Equal(made.Kid, (await Task.WhenAll(waiting)).Single(key => key is not null)!.Kid);
        // While the database is away, the keys that are known go on.
        engine.IsAway = true;
        clock.Advance(TimeSpan.FromMinutes(1));
        Assert.Equal(known.Kid, (await host.Keyring.Find(known.Kid, default))?.Kid);
    }

    public static TheoryData<string, string> Headers => new()
    {
        { "alg none", """{"alg":"none","typ":"spec+jwt","kid":"KID"}""" },
        { "alg none, in capitals", """{"alg":"NONE","typ":"spec+jwt","kid":"KID"}""" },
        { "alg of one key", """{"alg":"HS256","typ":"spec+jwt","kid":"KID"}""" },
        { "alg of another curve", """{"alg":"ES384","typ":"spec+jwt","kid":"KID"}""" },
        { "alg of RSA", """{"alg":"RS256","typ":"spec+jwt","kid":"KID"}""" },
        { "no alg", """{"typ":"spec+jwt","kid":"KID"}""" },
        { "alg that is no text", """{"alg":["ES256"],"typ":"spec+jwt","kid":"KID"}""" },
        { "no typ", """{"alg":"ES256","kid":"KID"}""" },
        { "another typ", """{"alg":"ES256","typ":"JWT","kid":"KID"}""" },
        { "typ in capitals", """{"alg":"ES256","typ":"SPEC+JWT","kid":"KID"}""" },
        { "no kid", """{"alg":"ES256","typ":"spec+jwt"}""" },
        { "an empty kid", """{"alg":"ES256","typ":"spec+jwt","kid":""}""" },
        { "a member twice", """{"alg":"ES256","alg":"ES256","typ":"spec+jwt","kid":"KID"}""" },
        { "crit", """{"alg":"ES256","typ":"spec+jwt","kid":"KID","crit":["exp"]}""" },
        { "b64", """{"alg":"ES256","typ":"spec+jwt","kid":"KID","b64":true}""" },
        { "an embedded key", """{"alg":"ES256","typ":"spec+jwt","kid":"KID","jwk":{"kty":"EC"}}""" },
        { "an address of keys", """{"alg":"ES256","typ":"spec+jwt","kid":"KID","jku":"https://evil.example/keys"}""" },
        { "an address of a certificate", """{"alg":"ES256","typ":"spec+jwt","kid":"KID","x5u":"https://evil.example/cert"}""" },
        { "a certificate", """{"alg":"ES256","typ":"spec+jwt","kid":"KID","x5c":["AAAA"]}""" },
        { "compression", """{"alg":"ES256","typ":"spec+jwt","kid":"KID","zip":"DEF"}""" },
        { "a list", """["alg"]""" },
    };

    [Theory]
    [MemberData(nameof(Headers))]
    public async Task A_header_that_says_another_thing_is_refused_although_its_signature_is_right(string what, string header)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var kid = Jws.Thumbprint(Jws.PublicOf(key));
        Assert.True(await Believed(Signed("""{"alg":"ES256","typ":"spec+jwt","kid":"KID"}""".Replace("KID", kid, StringComparison.Ordinal), Payload)));
        Assert.False(await Believed(Signed(header.Replace("KID", kid, StringComparison.Ordinal), Payload)), what);

        string Signed(string head, string payload)
        {
            var content = $"{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(head))}.{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(payload))}";
            return $"{content}.{Base64Url.EncodeToString(key.SignData(Encoding.ASCII.GetBytes(content), HashAlgorithmName.SHA256))}";
        }

        async ValueTask<bool> Believed(string token) => Jws.Read(token, Typ) is { } read && read.Kid == kid && await Jws.IsSignedBy(read, Jws.PublicOf(key));
    }

    [Fact]
    public async Task Every_character_of_a_token_counts()
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var token = Jws.Sign(key, "k", Typ, Payload);
        Assert.Equal(Payload, Encoding.UTF8.GetString(Base64Url.DecodeFromChars(token.Split('.')[1])));
        Assert.Equal(
            ["alg", "kid", "typ"], JsonNode.Parse(Base64Url.DecodeFromChars(token.Split('.')[0]))!.AsObject().Select(member => member.Key).Order(StringComparer.Ordinal));
        Assert.True(await Believed(token));
        for (var at = 0; at < token.Length; at++)
        {
            var changed = token.ToCharArray();
            changed[at] = changed[at] == 'A' ? 'Q' : 'A';
            Assert.False(await Believed(new(changed)), $"{at}");
        }
        foreach (var other in (string[])
        [
            "", ".", "..", "...", token + ".", token[..^1], token[..token.LastIndexOf('.')], token[..(token.LastIndexOf('.') + 1)], token + "=", $" {token}", $"{token}.{token}",
            token + new string('A', Jws.CharsMax),
        ])
        {
            Assert.False(await Believed(other), other);
        }
        using var stranger = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        Assert.False(await Jws.IsSignedBy(Jws.Read(token, Typ)!, Jws.PublicOf(stranger)));
        Assert.False(await Jws.IsSignedBy(Jws.Read(token, Typ)!, new PublicKey("AA", "AA")));
        // On no curve, and in another notation.
        Assert.Null(Jws.Import(new(new('A', 43), new('A', 43))));
        Assert.Null(Jws.Import(Jws.PublicOf(key) with { X = Jws.PublicOf(key).X + "=" }));

        async ValueTask<bool> Believed(string text) => Jws.Read(text, Typ) is { } read && await Jws.IsSignedBy(read, Jws.PublicOf(key));
    }

    [Theory]
    [InlineData("""{"sub":"a","sub":"b"}""")]
    [InlineData("""{"cnf":{"jwk":1,"jwk":2}}""")]
    [InlineData("[]")]
    [InlineData("x")]
    [InlineData("""{"a":[[[[[[[[1]]]]]]]]}""")]
    public void A_payload_that_can_be_read_in_two_ways_is_refused(string payload)
    {
        using var key = ECDsa.Create(ECCurve.NamedCurves.nistP256);
        var content = $"{Base64Url.EncodeToString("""{"alg":"ES256","typ":"spec+jwt","kid":"k"}"""u8)}.{Base64Url.EncodeToString(Encoding.UTF8.GetBytes(payload))}";
        Assert.Null(Jws.Read($"{content}.{Base64Url.EncodeToString(key.SignData(Encoding.ASCII.GetBytes(content), HashAlgorithmName.SHA256))}", Typ));
    }

    [Fact]
    public void The_thumbprint_is_that_of_the_standard()
    {
        // The key of RFC 7517, appendix A.1; its thumbprint is the SHA-256 of its three members and their names in order (RFC 7638, 3).
        var key = new PublicKey("MKBCTNIcKUSDii11ySs3526iDZ8AiTo7Tu6KPAqv7D4", "4Etl6SRW2YiLUrN5vfvVHuhp7x8PxltmWWlbbM4IFyM");
        var canonical = JsonSerializer.Serialize(new SortedDictionary<string, string>(StringComparer.Ordinal) { ["crv"] = "P-256", ["kty"] = "EC", ["x"] = key.X, ["y"] = key.Y });
        Assert.Equal(Base64Url.EncodeToString(SHA256.HashData(Encoding.UTF8.GetBytes(canonical))), Jws.Thumbprint(key));
    }
}
