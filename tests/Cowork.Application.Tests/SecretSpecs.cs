using System.Collections.Immutable;
using System.Text;

using Cowork.Application.Storage;
using Cowork.Domain;
using Cowork.Projections;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

/// <summary>Envelope encryption: what opens where, and how keys are rotated under way.</summary>
public sealed class SecretSpecs
{
    const string Org = "acme";
    static readonly Origin User = new("user:local");
    static readonly ConnectionKey First = new("01kdvkjr000000000000000031");
    static readonly ConnectionKey Second = new("01kdvkjr000000000000000032");
    static readonly ImmutableDictionary<string, string> Fields = ImmutableDictionary<string, string>.Empty.Add("host", "db").Add("password", "Pa55-word ü");

    readonly TestClock clock = new();
    readonly InMemoryEngine engine;

    public SecretSpecs() => engine = new(ReadModels.Tables, clock);

    /// <summary>A host on the database.</summary>
    sealed record Host(CommandHandler Handler, TenantSecrets Secrets, ConnectionSecrets Connections, KeyRotation Rotation);

    Host NewHost(params ImmutableList<MasterKey> keys)
    {
        var handler = new CommandHandler(engine.AddNode(Ids.NewKey(clock.GetUtcNow()), new CommitObservers(() => []), TimeSpan.FromSeconds(10), []), engine, new InMemoryBlobs(), ReadModels.All, clock, CronTimes.Next);
        var operators = new OperatorsTenant("default");
        var masters = new MasterKeyring(keys, "the spec");
        var secrets = new TenantSecrets(handler, handler, masters, operators, clock);
        return new(
            handler, secrets, new(handler, handler, secrets),
            new(handler, handler, secrets, new(handler, handler, masters, secrets, operators, clock), operators, (org, max, ct) => Connections.List(engine, org, max, ct), new(new InMemorySubjects(), () => masters)));
    }

    async Task<SealedSecret> Create(Host host, ConnectionKey connection, string org = Org)
    {
        var secret = await host.Secrets.Seal(org, connection, Fields, default);
        Assert.Null((await host.Handler.Execute(org, User, new CreateConnection(connection, "postgres", "x", secret, new()), default)).Refused);
        return secret;
    }

    static async Task<string?> Password(Host host, ConnectionKey connection, string org = Org) => (await host.Connections.Open(org, connection, default))?["password"];

    [Fact]
    public async Task A_secret_opens_in_its_own_place_and_nowhere_else()
    {
        var host = NewHost(MasterKey.New());
        var secret = await Create(host, First);
        Assert.Equal(Fields, await host.Secrets.Open(Org, First, secret, default));
        await Create(host, Second, "other");
        await Assert.ThrowsAsync<SecretUnreadableException>(async () => await host.Secrets.Open(Org, Second, secret, default));
        await Assert.ThrowsAsync<SecretUnreadableException>(async () => await host.Secrets.Open("other", First, secret, default));
        var others = await host.Secrets.Seal("other", First, Fields, default);
        await Assert.ThrowsAsync<SecretUnreadableException>(async () => await host.Secrets.Open(Org, First, secret with { KeyId = others.KeyId }, default));
        // Every bit counts: nonce, ciphertext and tag.
        var bytes = Convert.FromBase64String(secret.Ciphertext);
        for (var at = 0; at < bytes.Length; at++)
        {
            var changed = bytes.ToArray();
            changed[at] ^= 1;
            await Assert.ThrowsAsync<SecretUnreadableException>(async () => await host.Secrets.Open(Org, First, secret with { Ciphertext = Convert.ToBase64String(changed) }, default));
        }
        foreach (var ciphertext in (string[])["", "x", Convert.ToBase64String(bytes[..28]), Convert.ToBase64String(bytes[..^1])])
        {
            await Assert.ThrowsAsync<SecretUnreadableException>(async () => await host.Secrets.Open(Org, First, secret with { Ciphertext = ciphertext }, default));
        }
    }

    [Fact]
    public async Task The_same_secret_never_has_the_same_ciphertext_and_the_log_has_nothing_else()
    {
        var host = NewHost(MasterKey.New());
        var (first, again) = (await Create(host, First), await host.Secrets.Seal(Org, First, Fields, default));
        Assert.NotEqual(first.Ciphertext, again.Ciphertext);
        await foreach (var e in engine.Scan(0, default))
        {
            Assert.DoesNotContain("Pa55", Encoding.UTF8.GetString(e.Data.Span), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task A_host_with_another_master_key_opens_nothing_and_says_why()
    {
        var (ours, theirs) = (MasterKey.New(), MasterKey.New());
        var (host, other) = (NewHost(ours), NewHost(theirs));
        Assert.Null(await other.Secrets.WhyUnusable(default));
        await Create(host, First);
        Assert.Null(await host.Secrets.WhyUnusable(default));
        Assert.Contains(ours.Id, await other.Secrets.WhyUnusable(default));
        await Assert.ThrowsAsync<SecretUnreadableException>(async () => await Password(other, First));
        await Assert.ThrowsAsync<SecretUnreadableException>(async () => await other.Secrets.Seal(Org, First, Fields, default));
        await Assert.ThrowsAsync<SecretUnreadableException>(async () => await other.Secrets.Seal("new", First, Fields, default));
    }

    [Fact]
    public async Task A_rotation_leaves_every_host_working_at_every_step()
    {
        var (old, next) = (MasterKey.New(), MasterKey.New());
        var before = NewHost(old);
        await Create(before, First);
        await Create(before, Second, "other");
        // Hosts are restarted one by one with both keys.
        var both = NewHost(next, old);
        Assert.Null(await both.Secrets.WhyUnusable(default));
        await Create(both, Second);
        Assert.Equal("Pa55-word ü", await Password(before, Second));

        Assert.Equal(new(2, 2, 0), await both.Rotation.Rewrap(next, default));
        var after = NewHost(next);
        Assert.Null(await after.Secrets.WhyUnusable(default));
        Assert.NotNull(await before.Secrets.WhyUnusable(default));
        foreach (var host in (Host[])[both, after])
        {
            Assert.Equal("Pa55-word ü", await Password(host, First));
            Assert.Equal("Pa55-word ü", await Password(host, Second, "other"));
        }
        Assert.Equal(new(2, 0, 0), await both.Rotation.Rewrap(next, default));

        Assert.Equal(new(2, 0, 3), await after.Rotation.Reencrypt(default));
        Assert.Equal("Pa55-word ü", await Password(both, First));
        var live = (Connection.Live)await after.Handler.LatestState(Org, Connection.Aggregate, First, default);
        Assert.Equal((await after.Handler.LatestState(Org, DataKeys.Aggregate, DataKeys.Key, default)).Current(DataKeys.Secrets)!.Id, live.Secret!.KeyId);
        Assert.Equal(1, live.Revision);
    }

    [Fact]
    public async Task A_rotation_that_dies_anywhere_is_finished_by_the_next()
    {
        for (var at = 0; ; at++)
        {
            var spec = new SecretSpecs();
            var (old, next) = (MasterKey.New(), MasterKey.New());
            var host = spec.NewHost(next, old);
            await spec.Create(spec.NewHost(old), First);
            await spec.Create(host, Second);
            var commits = 0;
            spec.engine.FailPoint = (_, after) =>
            {
                if (after && commits++ == at)
                {
                    throw new HostDiedException();
                }
            };
            var died = false;
            try
            {
                await host.Rotation.Rewrap(next, default);
                await host.Rotation.Reencrypt(default);
            }
            catch (HostDiedException)
            {
                died = true;
            }
            spec.engine.FailPoint = null;
            var again = spec.NewHost(next, old);
            Assert.Equal("Pa55-word ü", await Password(again, First));
            await again.Rotation.Rewrap(next, default);
            await again.Rotation.Reencrypt(default);
            var only = spec.NewHost(next);
            Assert.Equal("Pa55-word ü", await Password(only, First));
            Assert.Equal("Pa55-word ü", await Password(only, Second));
            if (!died)
            {
                Assert.True(at > 4, $"{at} commits");
                return;
            }
        }
    }

    [Fact]
    public async Task Secrets_are_made_read_and_replaced_while_keys_are_rotated()
    {
        var (old, next) = (MasterKey.New(), MasterKey.New());
        var hosts = new[] { NewHost(next, old), NewHost(next, old) };
        await Create(hosts[0], First);
        using var stop = new CancellationTokenSource();
        var work = hosts.Select((host, number) => Task.Run(async () =>
        {
            for (var i = 0; !stop.IsCancellationRequested || i < 20; i++)
            {
                var key = ConnectionKey.New(clock.GetUtcNow());
                await Create(host, key);
                Assert.Equal("Pa55-word ü", await Password(host, key));
                var settings = await host.Connections.Open(Org, First, default);
                Assert.Equal("Pa55-word ü", (await host.Connections.Replace(settings!, Fields.SetItem("at", $"{number}.{i}"), default))!["password"]);
            }
        })).ToList();
        await NewHost(next, old).Rotation.Rewrap(next, default);
        for (var i = 0; i < 3; i++)
        {
            await NewHost(next).Rotation.Reencrypt(default);
        }
        await stop.CancelAsync();
        await Task.WhenAll(work);
        await NewHost(next).Rotation.Reencrypt(default);
        Assert.Equal("Pa55-word ü", await Password(NewHost(next), First));
    }

    [Fact]
    public async Task A_refreshed_token_takes_the_place_of_the_one_that_was_read_and_of_no_other()
    {
        var host = NewHost(MasterKey.New());
        await Create(host, First);
        var read = (await host.Connections.Open(Org, First, default))!;
        var mine = await host.Connections.Replace(read, Fields.SetItem("token", "mine"), default);
        var theirs = await host.Connections.Replace(read, Fields.SetItem("token", "theirs"), default);
        Assert.Equal(("mine", "mine"), (mine!["token"], theirs!["token"]));
        await host.Handler.Execute(Org, User, new DeleteConnection(First), default);
        Assert.Null(await host.Connections.Replace(mine, Fields, default));
        Assert.Null(await host.Connections.Open(Org, First, default));
    }

    [Fact]
    public async Task A_digest_of_a_request_tells_nobody_its_password()
    {
        var host = NewHost(MasterKey.New());
        var key = new RequestKey("user:local POST /x", "k", new string('a', 64), TimeSpan.FromDays(1), new string('b', 64));
        var keyed = await host.Secrets.Keyed(Org, key, default);
        Assert.Equal(keyed, await host.Secrets.Keyed(Org, key, default));
        Assert.NotEqual(key.RequestSha256, keyed!.RequestSha256);
        Assert.Null(keyed.BytesSha256);
        Assert.NotEqual(keyed.RequestSha256, (await host.Secrets.Keyed("other", key, default))!.RequestSha256);
        await host.Rotation.Reencrypt(default);
        Assert.Equal(keyed, await host.Secrets.Keyed(Org, key, default));
        Assert.Null(await host.Secrets.Keyed(Org, null, default));
    }

    [Fact]
    public void The_file_of_master_keys_is_its_owners_alone_and_has_the_newest_first()
    {
        var path = TestPostgres.NewDirectory();
        try
        {
            var made = MasterKeyFile.Open(path);
            Assert.Equal(UnixFileMode.UserRead | UnixFileMode.UserWrite, File.GetUnixFileMode(path));
            Assert.Equal(made.Newest.Id, MasterKeyFile.Open(path).Newest.Id);
            var next = MasterKey.New();
            MasterKeyFile.Write(path, [next, .. made.Keys]);
            Assert.Equal([next.Id, made.Newest.Id], MasterKeyFile.Open(path).Keys.Select(key => key.Id));
            // A host that runs finds the key when it meets its id.
            Assert.Equal(next.Id, made.Find(next.Id)?.Id);
            Assert.Null(made.Find("0123456789abcdef"));
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.GroupRead);
            Assert.Contains("owner's alone", Assert.Throws<ArgumentException>(() => MasterKeyFile.Open(path)).Message);
            File.SetUnixFileMode(path, UnixFileMode.UserRead | UnixFileMode.UserWrite);
            File.WriteAllText(path, "c2hvcnQ=\n");
            Assert.DoesNotContain("c2hvcnQ", Assert.Throws<ArgumentException>(() => MasterKeyFile.Open(path)).Message, StringComparison.Ordinal);
        }
        finally
        {
            File.Delete(path);
        }
    }

    [Fact]
    public void Master_keys_come_from_variables_before_the_file()
    {
        var (one, two) = (Convert.ToBase64String(new byte[32]), Convert.ToBase64String(Enumerable.Repeat((byte)1, 32).ToArray()));
        var variables = new Dictionary<string, string?> { [MasterKeySource.Variable] = one, [MasterKeySource.PreviousVariable] = $"{two}, {two}" };
        var ring = MasterKeySource.Read(variables.GetValueOrDefault, "/nowhere");
        Assert.Equal((3, MasterKey.Parse(one)!.Id), (ring.Keys.Count, ring.Newest.Id));
        Assert.DoesNotContain(one, $"{ring.Newest}", StringComparison.Ordinal);
        variables[MasterKeySource.Variable] = "not-a-key";
        Assert.DoesNotContain("not-a-key", Assert.Throws<ArgumentException>(() => MasterKeySource.Read(variables.GetValueOrDefault, "/nowhere")).Message, StringComparison.Ordinal);
    }

    [Fact]
    public void A_secret_is_taken_out_of_a_text_in_every_form()
    {
        var spec = new ConnectorSpec(
            "x", "X", "", ConnectorAuth.Credentials, [new("url", "URL"), new("host", "Host"), new("password", "Password", IsSecret: true)]);
        const string Secret = "S3cr3t \"pass\"/word+1";
        var settings = new ConnectionSettings(
            Org, First, "x",
            ImmutableDictionary<string, string>.Empty.Add("password", Secret).Add("host", "db.example").Add("url", "https://ann:us3r-inf0@db.example/x").Add("access_token", "tok-123456"));
        var scrubber = SecretScrubber.Of(settings, spec);
        foreach (var form in Forms(Secret).Concat(["us3r-inf0", "ann:us3r-inf0", "tok-123456"]))
        {
            Assert.Equal("a *** b", scrubber.Scrub($"a {form} b"));
        }
        for (var offset = 0; offset < 3; offset++)
        {
            var encoded = Convert.ToBase64String(Encoding.UTF8.GetBytes(new string('x', offset) + Secret + "y"));
            Assert.Contains(SecretScrubber.Mark, scrubber.Scrub(encoded));
        }
        Assert.Equal("db.example answered", scrubber.Scrub("db.example answered"));
    }

    [Theory]
    [InlineData("AAAABBBB+CCCC/DDDD\"E", """{"k":"AAAABBBB+CCCC\/DDDD\"E"}""", """{"k":"***"}""")]
    [InlineData("AAAABBBB+CCCC/DDDD\"E", """{"k":"AAAABBBB\u002bCCCC\u002FDDDD\u0022E","n":1}""", """{"k":"***","n":1}""")]
    [InlineData("Secret77", """\u0053\u0065\u0063\u0072\u0065\u0074\u0037\u0037 and Secret77""", "*** and ***")]
    [InlineData("Secret/77", "\"{\\\"k\\\":\\\"Secret\\\\\\/77\\\"}\"", "\"{\\\"k\\\":\\\"***\\\"}\"")]
    [InlineData("TOK=dieSTDIO777", "it ended with code 4: cannot log in with dieSTDIO777.", "it ended with code 4: cannot log in with ***.")]
    [InlineData("A=1\nTOK=dieSTDIO777\nB=p=word", "dieSTDIO777 p=word 1", "*** *** 1")]
    [InlineData("X-Key:abcd1234", "the key abcd1234", "the key ***")]
    [InlineData("Secret77", """a\ path \u12 \""", """a\ path \u12 \""")]
    public void A_secret_is_taken_out_however_JSON_escapes_it_and_whatever_its_field_has_before_it(string secret, string text, string plain)
    {
        var spec = new ConnectorSpec("x", "X", "", ConnectorAuth.Credentials, [new("variables", "Variables", IsSecret: true)]);
        var scrubber = SecretScrubber.Of(new(Org, First, "x", ImmutableDictionary<string, string>.Empty.Add("variables", secret)), spec);
        Assert.Equal(plain, scrubber.Scrub(text));
    }

    static IEnumerable<string> Forms(string secret) =>
    [
        secret, Uri.EscapeDataString(secret), System.Net.WebUtility.UrlEncode(secret), System.Text.Json.JsonSerializer.Serialize(secret)[1..^1],
        Convert.ToHexString(Encoding.UTF8.GetBytes(secret)), Convert.ToHexStringLower(Encoding.UTF8.GetBytes(secret)),
    ];
}
