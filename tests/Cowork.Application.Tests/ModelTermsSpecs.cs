using Cowork.Application.Models;
using Cowork.Testing;

using Xunit;

namespace Cowork.Application.Tests;

public sealed class ModelTermsSpecs
{
    [Theory]
    [InlineData(1_000_000, 0, 0, 3_000_000)]
    [InlineData(0, 1_000_000, 0, 15_000_000)]
    [InlineData(100, 10, 40, 342)]          // 60 × 3 + 40 × 0.3 + 10 × 15
    [InlineData(1, 0, 1, 1)]                // 0.3 of a millionth is one: never less than was spent
    [InlineData(10, 0, 99, 3)]              // no more can be cached than was sent
    [InlineData(0, 0, 0, 0)]
    public void A_cost_is_whole_millionths_of_a_dollar(long input, long output, long cached, long expected) =>
        Assert.Equal(expected, new ModelPrice(3, 15, 0.3m).CostMicroUsd(input, output, cached));

    [Fact]
    public void Without_a_price_of_their_own_cached_tokens_cost_as_others() => Assert.Equal(300, new ModelPrice(3, 15).CostMicroUsd(100, 0, 50));

    [Fact]
    public void Each_wait_is_about_twice_the_one_before_and_none_is_too_long()
    {
        var retries = new ModelRetries(10, TimeSpan.FromSeconds(1), TimeSpan.FromSeconds(10));
        for (var attempt = 1; attempt < 10; attempt++)
        {
            var most = Math.Min(10, Math.Pow(2, attempt - 1));
            Assert.InRange(retries.DelayAfter(attempt, null, "run")!.Value.TotalSeconds, most / 2, most);
        }
        Assert.Null(retries.DelayAfter(10, null, "run"));
    }

    [Fact]
    public void A_wait_follows_from_its_seed_and_differs_from_run_to_run()
    {
        var retries = ModelRetries.Default;
        Assert.Equal(retries.DelayAfter(3, null, "a"), retries.DelayAfter(3, null, "a"));
        Assert.True(Enumerable.Range(0, 100).Select(i => retries.DelayAfter(3, null, $"run {i}")).Distinct().Count() > 80);
    }

    [Fact]
    public void The_provider_may_ask_for_more_and_not_for_too_much()
    {
        var retries = ModelRetries.Default;
        Assert.Equal(TimeSpan.FromSeconds(20), retries.DelayAfter(1, TimeSpan.FromSeconds(20), "a"));
        Assert.InRange(retries.DelayAfter(1, TimeSpan.Zero, "a")!.Value, TimeSpan.FromMilliseconds(250), TimeSpan.FromMilliseconds(500));
        Assert.Null(retries.DelayAfter(1, TimeSpan.FromSeconds(61), "a"));
    }

    [Fact]
    public void The_first_model_that_is_ready_is_the_default()
    {
        var without = new ModelSettings { Name = "a", Provider = "openai", Model = "m" };
        Assert.Equal("offline", ModelCatalog.Default([]));
        Assert.Equal("offline", ModelCatalog.Default([without]));
        Assert.Equal("b", ModelCatalog.Default([without, without with { Name = "b", Key = "k" }, without with { Name = "c", Key = "k" }]));
        Assert.Equal("local", ModelCatalog.Default([without, without with { Name = "local", BaseUrl = new("http://localhost:11434/v1") }]));
    }

    [Fact]
    public void The_offline_model_is_always_there_and_its_name_is_its_own()
    {
        var offline = new OfflineModel(Workspace.Files(), new TestClock());
        var model = new ModelSettings { Name = "offline", Provider = "openai", Model = "m" };
        using var catalog = new ModelCatalog([model with { Provider = "offline" }, model with { Name = "dry", Provider = "offline" }], offline, new TestClock());
        Assert.Equal(["dry", "offline"], catalog.Clients.Keys.Order());
        Assert.Throws<ArgumentException>(() => new ModelCatalog([model], offline, new TestClock()));
        Assert.Throws<ArgumentException>(() => new ModelCatalog([model with { Name = "x", Provider = "mind-reader" }], offline, new TestClock()));
    }
}
