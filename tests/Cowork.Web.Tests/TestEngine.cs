namespace Cowork.Web.Tests;

/// <summary>The storage engine that every host of these specs runs on: <c>COWORK_TEST_ENGINE</c>, or npgsql.</summary>
static class TestEngine
{
    public static string Name { get; } = Environment.GetEnvironmentVariable("COWORK_TEST_ENGINE") is { Length: > 0 } name ? name : "npgsql";
}
