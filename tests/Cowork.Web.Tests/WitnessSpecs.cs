using System.Buffers.Text;
using System.Security.Cryptography;
using System.Text;
using System.Text.Json;
using System.Text.Json.Nodes;

using Cowork.Application;
using Cowork.Application.Storage;
using Cowork.Connectors;
using Cowork.Projections;
using Cowork.Testing;

using Microsoft.AspNetCore.Builder;
using Microsoft.AspNetCore.Hosting;
using Microsoft.AspNetCore.Http;
using Microsoft.Extensions.DependencyInjection;
using Microsoft.Extensions.DependencyInjection.Extensions;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>Heads that leave the database, and who follows them: nobody rewrites a log without their being seen.</summary>
public sealed class WitnessSpecs : IDisposable
{
    static readonly TimeSpan Soon = TimeSpan.FromSeconds(1);

    readonly string state = Directory.CreateTempSubdirectory("cowork-witness-").FullName;
    readonly string key = Convert.ToBase64String(RandomNumberGenerator.GetBytes(MasterKey.Bytes));

    public void Dispose() => Directory.Delete(state, recursive: true);

    [Fact]
    public async Task A_witness_keeps_the_heads_and_raises_an_alarm_when_a_backup_takes_the_databases_place()
    {
        var database = await TestPostgres.NewDatabase();
        await using (var host = await Start(database))
        {
            await Turn(host);
            await Look(host, 0, "The keys of");
        }
        var backup = await Copied(database);
        await using (var host = await Start(database))
        {
            await Turn(host);
            var kept = File.ReadAllLines(Path.Combine(state, "heads.ndjson")).Length;
            await Look(host, 0, "kept");
            Assert.True(File.ReadAllLines(Path.Combine(state, "heads.ndjson")).Length > kept);
            await Look(host, 0, "");
        }
        await using (var host = await Start(backup))
        {
            await Turn(host);
            await Turn(host);
            await Look(host, 3, "ALARM");
            Assert.Contains("ALARM", File.ReadAllText(Path.Combine(state, "alarms.log")), StringComparison.Ordinal);
        }
    }

    [Fact]
    public async Task Times_of_heads_that_go_back_are_noted_and_are_no_fault()
    {
        var (database, clock) = (await TestPostgres.NewDatabase(), new ShiftedClock());
        await using var host = await Start(database, clock: clock);
        await Turn(host);
        await Look(host, 0, "kept");
        clock.Shift = -TimeSpan.FromHours(2);
        await Turn(host);
        await Look(host, 0, "note: head ");
        var (code, output) = await CoworkCli.Run(null, "verify", "--database", database);
        Assert.True(code == 0 && output.Contains("; note: the times of heads go back, 1 in all, first at head ", StringComparison.Ordinal), output);
        (code, output) = await CoworkCli.Run(null, "verify", "--json", "--database", database);
        Assert.True(code == 0 && output.Contains("\"heads_back\":1,\"first_head_back\":", StringComparison.Ordinal), output);
    }

    [Fact]
    public async Task A_witness_raises_an_alarm_when_the_end_of_the_log_is_gone_and_when_nothing_comes_for_too_long()
    {
        await using var host = await Start(await TestPostgres.NewDatabase());
        await Turn(host);
        await Look(host, 0, "kept");
        await Look(host, 3, "No new head has come", "--silent", "1", "--every", "1");
        var (gone, keys) = (Path.Combine(state, "gone.ndjson"), Path.Combine(state, "jwks.json"));
        await File.WriteAllTextAsync(gone, "");
        var (code, output) = await CoworkCli.Run(null, "witness", "--once", "--drop", gone, "--jwks", keys, "--state", state);
        Assert.True(code == 3 && output.Contains("its end is gone", StringComparison.Ordinal), output);
        // Nothing is compared with a file without heads.
        (code, output) = await CoworkCli.Run(null, "verify", "--database", host.Database, "--heads", gone);
        Assert.True(code == 2 && output.Contains("has no head", StringComparison.Ordinal), output);
        (code, output) = await CoworkCli.Run(null, "verify", "--heads", gone, gone);
        Assert.True(code == 2 && output.Contains("has no head", StringComparison.Ordinal), output);
    }

    [Fact]
    public async Task A_witness_whose_own_file_was_changed_raises_an_alarm_and_does_not_go_on()
    {
        await using var host = await Start(await TestPostgres.NewDatabase());
        var path = Path.Combine(state, "heads.ndjson");
        for (var kept = 0; kept < 3; kept = HeadLine.Read(path).Count)
        {
            await Turn(host);
            await Look(host, 0, "kept");
        }
        var lines = await File.ReadAllLinesAsync(path);
        var last = HeadLine.Parse(lines[^1])!;
        foreach (var (changed, said) in ((string[], string)[])
        [
            ([.. lines.Skip(1)], "It begins with head 2"),
            ([lines[0], .. lines.Skip(2)], "Head 3 follows head 1"),
            ([.. lines.SkipLast(2), lines[^1], lines[^2]], "follows head"),
            ([(HeadLine.Parse(lines[0])! with { RootHash = new('0', 64) }).ToJson(), .. lines.Skip(1)], "Head 1 is not signed"),
            ([.. lines, (last with { Number = last.Number + 1, TreeSize = last.TreeSize + 7 }).ToJson()], "is not signed"),
            ([.. lines, "x"], "is no head"),
        ])
        {
            await File.WriteAllLinesAsync(path, changed);
            await Look(host, 3, said);
            Assert.Equal(changed, await File.ReadAllLinesAsync(path));
        }
        await File.WriteAllLinesAsync(path, lines);
        await Look(host, 0, "");
    }

    [Fact]
    public async Task A_witness_that_is_there_before_the_first_head_trusts_the_keys_that_come_with_it()
    {
        var database = await TestPostgres.NewDatabase();
        await using (var host = await Start(database, TimeSpan.FromHours(1)))
        {
            await Look(host, 0, "");
            Assert.False(File.Exists(Path.Combine(state, "jwks.json")));
        }
        await using (var host = await Start(database))
        {
            await Turn(host);
            await Look(host, 0, "The keys of");
            await Look(host, 0, "");
        }
    }

    [Fact]
    public async Task A_host_that_finds_an_older_database_than_it_has_seen_signs_nothing_and_says_so()
    {
        await using var host = await LiveHost.Start(settings =>
        {
            var head = new HeadLine(9, 1_000_000, new('a', 64), new(2026, 1, 1, 9, 0, 0, TimeSpan.Zero), "kid", "a.b.c").Head;
            var json = new JsonObject
            {
                ["tree_size"] = head.TreeSize,
                ["root_hash"] = head.RootHash,
                ["timestamp"] = HashChain.Timestamp(head.Timestamp),
                ["kid"] = head.Kid,
                ["signature"] = head.Signature,
            };
            Directory.CreateDirectory(settings.Data);
            File.WriteAllText(Path.Combine(settings.Data, HeadFile.Name), json.ToJsonString());
            return Task.FromResult(settings with { Heads = new(Soon) });
        });
        (await host.Http.Turn(await host.Http.NewSession(), "/say hello")).Is(200);
        await host.Http.Until("/health/ready", got => got.Is(200).Json.GetProperty("audit_fault").GetString()?.Contains("earlier state", StringComparison.Ordinal) == true);
        (await host.Http.Get("/audit/heads/latest")).IsProblem(404);
        Assert.True((await host.Http.Get("/metrics")).Is(200).Json.GetProperty("host").GetProperty("audit").GetProperty("fault").GetBoolean());
    }

    [Fact]
    public async Task Heads_are_sent_to_a_file_and_signed_to_a_webhook_each_in_its_order_and_again_until_they_are_taken()
    {
        var taken = new List<(string Body, Dictionary<string, string> Headers)>();
        var refusals = 2;
        var builder = WebApplication.CreateSlimBuilder();
        builder.WebHost.UseUrls("http://127.0.0.1:0");
        await using var server = builder.Build();
        server.MapPost("/heads", async (HttpRequest request) =>
        {
            using var reader = new StreamReader(request.Body);
            var body = await reader.ReadToEndAsync();
            if (Interlocked.Decrement(ref refusals) >= 0)
            {
                return Results.StatusCode(503);
            }
            lock (taken)
            {
                taken.Add((body, request.Headers.ToDictionary(header => header.Key, header => header.Value.ToString(), StringComparer.OrdinalIgnoreCase)));
            }
            return Results.NoContent();
        });
        await server.StartAsync();
        var address = new Uri(server.Urls.First() + "/heads");
        var file = Path.Combine(state, "heads.ndjson");
        await using var host = await LiveHost.Start(settings => settings with
        {
            Heads = new(Soon, Publish: true),
            HeadTargets = HeadTargetSettings.None with { File = file, Webhook = address },
            Egress = [EgressTarget.Parse($"127.0.0.1:{address.Port}")!],
            JobRetries = [Soon, Soon, Soon],
        });
        await Turn(host);
        await Turn(host);
        var latest = (await host.Http.Get("/audit/heads/latest")).Is(200).Json.GetProperty("number").GetInt64();
        await host.Http.Until("/metrics", got => got.Is(200).Json.GetProperty("host").GetProperty("audit").GetProperty("targets").EnumerateArray()
            .All(target => target.GetProperty("sent").GetInt64() >= latest && !target.GetProperty("failing").GetBoolean()));
        Assert.Equal(Enumerable.Range(1, (int)latest).Select(i => (long)i), HeadLine.Read(file).Select(head => head.Number).Take((int)latest));
        lock (taken)
        {
            Assert.Equal(Enumerable.Range(1, (int)latest).Select(i => (long)i), taken.Select(one => HeadLine.Parse(one.Body)!.Number).Distinct().Take((int)latest));
        }
        var jwks = (await host.Http.Get("/infra/jwks.json")).Is(200).Json.GetProperty("keys");
        foreach (var (body, headers) in taken)
        {
            AssertSigned(body, headers, address, jwks);
        }
        Assert.Null((await host.Http.Get("/health/ready")).Is(200).Json.GetProperty("audit_fault").GetString());
        await File.WriteAllTextAsync(Path.Combine(state, "keys.json"), (await host.Http.Get("/infra/jwks.json")).Text);
        var (code, output) = await CoworkCli.Run(
            null, "witness", "--once", "--drop", file, "--jwks", Path.Combine(state, "keys.json"), "--state", Path.Combine(state, "kept"));
        Assert.True(code == 0 && !output.Contains("unproved", StringComparison.Ordinal), output);
        // The trees are compared by the proofs that came with the heads; heads of earlier releases have none.
        var heads = HeadLine.Read(file);
        foreach (var (name, consistency, wanted, said) in ((string, IReadOnlyList<string>?, int, string)[])
            [("before", null, 0, "head 2 is unproved"), ("forged", [new string('0', 64)], 3, "does not begin with that of head 1")])
        {
            var drop = Path.Combine(state, $"{name}.ndjson");
            await File.WriteAllLinesAsync(drop, heads.Select(head => (head.Number == 1 ? head : head with { Consistency = consistency }).ToJson()));
            (code, output) = await CoworkCli.Run(
                null, "witness", "--once", "--drop", drop, "--jwks", Path.Combine(state, "keys.json"), "--state", Path.Combine(state, name));
            Assert.True(code == wanted && output.Contains(said, StringComparison.Ordinal), output);
        }
    }

    [Fact]
    public async Task A_bundle_proves_its_events_by_the_head_that_covers_them_and_a_log_is_verified_on_the_command_line()
    {
        var database = await TestPostgres.NewDatabase();
        await using var host = await Start(database);
        var session = await host.Http.NewSession();
        var run = (await host.Http.Turn(session, "/tool remember {\"content\":\"the sea is blue\"}\n/say hello")).Is(200)["run_id"];
        var uncovered = (await host.Http.Get($"/runs/{run}/trace")).Is(200);
        await Rest(host);
        var bundle = Encoding.UTF8.GetBytes((await host.Http.Get($"/runs/{run}/trace")).Is(200).Text);
        await Turn(host);
        Assert.Equal(bundle, Encoding.UTF8.GetBytes((await host.Http.Get($"/runs/{run}/trace")).Is(200).Text));
        Assert.Equal(uncovered.Json.GetProperty("head").ToString(), JsonElement.Parse(bundle).GetProperty("head").ToString());

        var jwks = Encoding.UTF8.GetBytes((await host.Http.Get("/infra/jwks.json")).Is(200).Text);
        var anchors = new TrustAnchors(HeadKeys.Parse(jwks));
        Assert.True(TraceVerifier.Verify(bundle, anchors: anchors).Report!.Signature!.IsPinned);
        Assert.False(TraceVerifier.Verify(bundle).Report!.Signature!.IsPinned);
        Assert.Equal("$.log", TraceVerifier.Verify(Encoding.UTF8.GetBytes(uncovered.Text), anchors: anchors).Fault?.Location ?? "$.log");
        Assert.Equal("$.log.head.kid", TraceVerifier.Verify(bundle, anchors: new(new Dictionary<string, Domain.PublicKey>())).Fault!.Location);
        (string Place, Action<JsonObject> Forge)[] forgeries =
        [
            ("$.log", root => root.Remove("log")),
            ("$.log.proof", root => Each(root, e => e["gid"] = (long)e["gid"]! + 1)),
            ("$.log.proof", root => Each(root, e => e["feed_id"] = (long)e["feed_id"]! + 1)),
            ("$.log.leaves", root => root["log"]!["leaves"]!.AsArray().RemoveAt(0)),
            ("$.log.proof", root => root["log"]!["leaves"]![0]!["causation_id"] = "another"),
            ("$.log.proof", root => root["log"]!["proof"]![0] = new string('0', 64)),
            ("$.log.head", root => root["log"]!["head"]!["tree_size"] = (long)root["log"]!["head"]!["tree_size"]! + 1),
            ("$.log.head", root => root["log"]!["head"]!["number"] = 0),
            ("$.log.key", root => root["log"]!["key"]!["x"] = new string('A', 43)),
        ];
        foreach (var (place, forge) in forgeries)
        {
            var root = JsonNode.Parse(bundle)!.AsObject();
            forge(root);
            TamperedBundles.Seal(root);
            Assert.StartsWith(place, TraceVerifier.Verify(CanonicalJson.Of(Encoding.UTF8.GetBytes(root.ToJsonString())), anchors: anchors).Fault?.Location ?? "sound", StringComparison.Ordinal);
        }

        var (pinned, kept, file) = (Path.Combine(state, "keys.json"), Path.Combine(state, "verify.json"), Path.Combine(state, "bundle.json"));
        await File.WriteAllBytesAsync(pinned, jwks);
        await File.WriteAllBytesAsync(file, bundle);
        var (code, output) = await CoworkCli.Run(null, "verify", "--jwks", pinned, file);
        Assert.True(code == 0 && output.Contains("signed by the trusted key", StringComparison.Ordinal), output);
        // Exports ask for a head; the session is covered by now.
        var (first, second, whole) = (Path.Combine(state, "1.ndjson"), Path.Combine(state, "2.ndjson"), Path.Combine(state, "session.ndjson"));
        await File.WriteAllBytesAsync(first, await host.Http.GetByteArrayAsync("/audit/export?to=2100-01-01T00:00:00Z"));
        var through = JsonNode.Parse(File.ReadLines(first).Last())!["end"]!["through"];
        await Turn(host);
        await File.WriteAllBytesAsync(second, await host.Http.GetByteArrayAsync($"/audit/export?after={through}"));
        await File.WriteAllBytesAsync(whole, await host.Http.GetByteArrayAsync($"/sessions/{session}/trace"));
        await Look(host, 0, "kept");
        (code, output) = await CoworkCli.Run(null, "verify", "--jwks", pinned, "--heads", Path.Combine(state, "heads.ndjson"), first, second, whole, file);
        Assert.True(code == 0 && output.Split("signed by the trusted key").Length == 5 && output.Split("which a witness keeps").Length == 5, output);
        Assert.Contains($", where \"{first}\" ends", output, StringComparison.Ordinal);
        (code, output) = await CoworkCli.Run(null, "verify", "--json", second, first);
        Assert.True(code == 1 && output.Contains("in another order", StringComparison.Ordinal), output);
        foreach (var _ in (int[])[1, 2])
        {
            (code, output) = await CoworkCli.Run(null, "verify", "--database", database, "--jwks", pinned, "--state", kept);
            Assert.True(code == 0 && output.StartsWith("SOUND      the log: ", StringComparison.Ordinal) && output.Contains("up to head ", StringComparison.Ordinal), output);
        }
        await using var connection = new NpgsqlConnection(database);
        await connection.OpenAsync();
        await using var change = new NpgsqlCommand(
            "ALTER TABLE cowork.mt_events DISABLE TRIGGER keep_log; UPDATE cowork.mt_events SET user_name = 'user:eve' WHERE seq_id = 3", connection);
        await change.ExecuteNonQueryAsync();
        (code, output) = await CoworkCli.Run(null, "verify", "--database", database);
        Assert.True(code == 1 && output.StartsWith("NOT SOUND  the log, first at event 3 of ", StringComparison.Ordinal), output);
    }

    static void Each(JsonObject root, Action<JsonNode> change)
    {
        foreach (var e in root["events"]!.AsArray())
        {
            change(e!);
        }
    }

    Task<LiveHost> Start(string database, TimeSpan? every = null, TimeProvider? clock = null) => LiveHost.Start(
        settings => settings with
        {
            Database = database,
            Heads = new(every ?? Soon),
            MasterKeys = _ => MasterKeySource.Read(name => name == MasterKeySource.Variable ? key : null, ""),
        },
        log => log.Services.Replace(ServiceDescriptor.Singleton(clock ?? TimeProvider.System)));

    static async Task Turn(LiveHost host)
    {
        (await host.Http.Turn(await host.Http.NewSession(), "/say hello")).Is(200);
        await Rest(host);
    }

    static Task<Got> Rest(LiveHost host) => host.Http.Until("/metrics", got =>
    {
        var audit = got.Is(200).Json.GetProperty("host").GetProperty("audit");
        return audit.GetProperty("heads").GetInt64() > 0 && got.Json.GetProperty("host").GetProperty("log_head").GetInt64() == audit.GetProperty("head_tree_size").GetInt64() + 1;
    });

    /// <summary>Runs the witness until it has looked.</summary>
    async Task Look(LiveHost host, int wanted, string said, params string[] more)
    {
        string[] mode = more.Length == 0 ? ["--once"] : more;
        var (code, output) = await CoworkCli.Run(null, ["witness", "--url", host.Url, "--state", state, .. mode]);
        Assert.True(code == wanted && output.Contains(said, StringComparison.Ordinal), $"{code}: {output}");
    }

    /// <summary>A copy of a database that nobody uses.</summary>
    static async Task<string> Copied(string database)
    {
        var (from, copy) = (new NpgsqlConnectionStringBuilder(database), new NpgsqlConnectionStringBuilder(await TestPostgres.NewDatabase()));
        NpgsqlConnection.ClearAllPools();
        await using var connection = new NpgsqlConnection(new NpgsqlConnectionStringBuilder(database) { Database = "postgres", Pooling = false }.ConnectionString);
        await connection.OpenAsync();
        foreach (var sql in (string[])[$"DROP DATABASE \"{copy.Database}\" WITH (FORCE)", $"CREATE DATABASE \"{copy.Database}\" TEMPLATE \"{from.Database}\""])
        {
            await using var command = new NpgsqlCommand(sql, connection);
            await command.ExecuteNonQueryAsync();
        }
        return copy.ConnectionString;
    }

    static void AssertSigned(string body, Dictionary<string, string> headers, Uri address, JsonElement jwks)
    {
        Assert.Equal($"sha-256=:{Convert.ToBase64String(SHA256.HashData(Encoding.UTF8.GetBytes(body)))}:", headers["Content-Digest"].ToString());
        var parameters = headers["Signature-Input"].ToString()["sig1=".Length..];
        var kid = parameters.Split("keyid=\"")[1].Split('"')[0];
        var jwk = jwks.EnumerateArray().Single(key => key.GetProperty("kid").GetString() == kid);
        using var key = ECDsa.Create(new ECParameters
        {
            Curve = ECCurve.NamedCurves.nistP256,
            Q = new() { X = Base64Url.DecodeFromChars(jwk.GetProperty("x").GetString()!), Y = Base64Url.DecodeFromChars(jwk.GetProperty("y").GetString()!) },
        });
        var signed = $"\"@method\": POST\n\"@target-uri\": {address}\n\"content-digest\": {headers["Content-Digest"]}\n\"content-type\": application/json\n\"@signature-params\": {parameters}";
        Assert.True(key.VerifyData(Encoding.ASCII.GetBytes(signed), Convert.FromBase64String(headers["Signature"].ToString()["sig1=:".Length..^1]), HashAlgorithmName.SHA256));
    }
}
