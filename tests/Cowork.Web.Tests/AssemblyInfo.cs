using Cowork.Testing;

using Xunit.v3;

[assembly: AssemblyFixture(typeof(SharedHost))]
[assembly: TestPipelineStartup(typeof(TestPostgresPipeline))]
