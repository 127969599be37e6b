using Cowork.Browser.Tests;
using Cowork.Testing;

using Xunit.v3;

[assembly: AssemblyFixture(typeof(Chromium))]
[assembly: AssemblyFixture(typeof(BrowsedHost))]
[assembly: TestPipelineStartup(typeof(TestPostgresPipeline))]
