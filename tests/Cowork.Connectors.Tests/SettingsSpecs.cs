using System.Collections.Immutable;

using Cowork.Application;

namespace Cowork.Connectors.Tests;

public sealed class SettingsSpecs
{
    [Fact]
    public void The_text_of_settings_tells_no_field()
    {
        var settings = new ConnectionSettings("default", default, "postgres", ImmutableDictionary<string, string>.Empty.Add("password", "s3cr3t"));

        Assert.DoesNotContain("s3cr3t", $"{settings}", StringComparison.Ordinal);
        Assert.Equal("s3cr3t", settings["password"]);
        Assert.Null(settings["host"]);
    }
}
