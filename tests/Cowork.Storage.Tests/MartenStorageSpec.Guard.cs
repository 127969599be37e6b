using Cowork.Testing;

using JasperFx;
using JasperFx.Events;
using JasperFx.MultiTenancy;

using Marten;

using Xunit;

namespace Cowork.Storage.Tests;

/// <summary>Programs that open the log with a Marten that is configured in another way.</summary>
public sealed partial class MartenStorageSpec
{
    [Theory]
    [InlineData(AutoCreate.CreateOrUpdate, true, false)]
    [InlineData(AutoCreate.CreateOrUpdate, true, true)]
    [InlineData(AutoCreate.CreateOrUpdate, false, false)]
    [InlineData(AutoCreate.CreateOnly, true, false)]
    [InlineData(AutoCreate.All, true, false)]
    [InlineData(AutoCreate.All, false, false)]
    public async Task Stock_Marten_that_migrates_changes_nothing_of_the_log(AutoCreate auto, bool sameForm, bool apply)
    {
        var engine = await Start(ConnectionString, "a");
        var chain = new Chain(Org, "run-1", "s1");
        await engine.Log.Append(chain.Commit("one", "two"), None);
        var before = await Form();
        await using (var stock = DocumentStore.For(o =>
        {
            o.Connection(ConnectionString);
            o.DatabaseSchemaName = "cowork";
            o.AutoCreateSchemaObjects = auto;
            if (sameForm)
            {
                o.Events.StreamIdentity = StreamIdentity.AsString;
                o.Events.TenancyStyle = TenancyStyle.Conjoined;
            }
        }))
        {
            var failed = await Record.ExceptionAsync(async () =>
            {
                if (apply)
                {
                    await stock.Storage.ApplyAllConfiguredChangesToDatabaseAsync(auto);
                }
                await using var session = stock.QuerySession(Org);
                _ = sameForm ? await session.Events.FetchStreamAsync("run-1") : await session.Events.FetchStreamAsync(Guid.Empty);
            });
            Assert.True(failed is not null, "It should have been refused.");
        }
        Assert.Equal(before, await Form());
        await engine.Log.Append(chain.Commit("three"), None);
        await engine.DisposeAsync();
        await AssertLedger(await Open("b"));
    }

    Task<string> Form() => Ask("""
        SELECT concat_ws(E'\n',
            (SELECT string_agg(concat_ws(' ', table_name, column_name, data_type, is_nullable), E'\n' ORDER BY table_name, column_name)
                FROM information_schema.columns WHERE table_schema = 'cowork' AND table_name IN ('mt_streams', 'mt_events')),
            (SELECT string_agg(conname || ' ' || pg_get_constraintdef(oid), E'\n' ORDER BY conname) FROM pg_constraint
                WHERE conrelid IN ('cowork.mt_streams'::regclass, 'cowork.mt_events'::regclass)),
            (SELECT string_agg(indexdef, E'\n' ORDER BY indexname) FROM pg_indexes WHERE tablename IN ('mt_streams', 'mt_events')),
            (SELECT count(*) FROM cowork.mt_events))
        """);
}
