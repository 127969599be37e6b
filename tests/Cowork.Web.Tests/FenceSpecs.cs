using Cowork.Application;
using Cowork.Testing;

using Npgsql;

namespace Cowork.Web.Tests;

/// <summary>Row-level security: what tenants see of each other when the host's own filters are gone.</summary>
public sealed class FenceSpecs
{
    [Fact]
    public async Task Tenants_never_see_each_other_even_where_the_hosts_own_filters_are_gone()
    {
        var database = await TestPostgres.NewDatabase();
        // All hosts on a database have one master key.
        MasterKeyring? keys = null;
        HostSettings Settings(HostSettings settings) => settings with { TokenMode = true, MasterKeys = data => keys ??= MasterKeySource.Read(_ => null, data) };
        string theirs, ours;
        TenantProbe probe;
        await using (var plain = await LiveHost.Start(settings => Settings(settings) with { Database = database }))
        {
            (theirs, ours) = (await plain.Token("them", "admin", "member"), await plain.Token("us", "admin", "member"));
            using var filling = plain.Client(theirs);
            probe = await TenantProbe.Fill(filling);
        }
        await using var remover = new FilterRemover(Path.Combine(new NpgsqlConnectionStringBuilder(database).Host!, ".s.PGSQL.5432"));
        var unfiltered = new NpgsqlConnectionStringBuilder(TestPostgres.Roles(database).Host) { Host = "127.0.0.1", Port = remover.Port }.ConnectionString;

        // Whatever a statement asks for, the fence holds it to its tenant. The host has just started, so that nothing comes from what it remembers.
        await using (var open = await LiveHost.Start(settings => Settings(settings) with { Database = unfiltered, DatabaseOwner = database }))
        {
            using var looking = open.Client(ours);
            var (seen, probed) = await probe.Look(looking);
            Assert.Empty(seen);
            Assert.True(probed >= 12, $"{probed} routes");
            using var own = open.Client(theirs);
            Assert.Equal("completed", (await own.Get($"/runs/{probe.Run}")).Is(200)["status"]);
        }
        Assert.True(remover.Removed >= 20, $"{remover.Removed} statements");

        // Without it the same probe sees what it should not: the filters are really gone, and the probe is none that cannot fail.
        await using (var connection = new NpgsqlConnection(database + ";Pooling=false"))
        {
            await connection.OpenAsync();
            await using var unfence = new NpgsqlCommand(
                """
                DO $do$ DECLARE it record; BEGIN
                    FOR it IN SELECT oid::regclass AS name FROM pg_class WHERE relnamespace = 'cowork'::regnamespace AND relrowsecurity LOOP
                        EXECUTE format('ALTER TABLE %s NO FORCE ROW LEVEL SECURITY, DISABLE ROW LEVEL SECURITY', it.name);
                    END LOOP;
                END $do$
                """,
                connection);
            await unfence.ExecuteNonQueryAsync();
        }
        await using var unfenced = await LiveHost.Start(settings => Settings(settings) with { Database = unfiltered, DatabaseOwner = unfiltered });
        // A client that does not compare answers with the description: this host may answer anything.
        using var prying = new HttpClient { BaseAddress = new(unfenced.Url), DefaultRequestHeaders = { Authorization = new("Bearer", ours) } };
        Assert.True((await probe.Look(prying, readsOnly: true)).Seen.Count >= 5);
    }
}
